"""Reports: what a journal knows of each video as one page that needs nothing but a browser and the videos beside it.

`rows` says what the page shows of a row, `traffic` counts what a run sends, `plots` draws, `page` puts it together,
`writing` reads the journal and writes the file.
"""

from .traffic import Traffic
from .writing import NAME, Report, write_report

__all__ = ["NAME", "Report", "Traffic", "write_report"]
