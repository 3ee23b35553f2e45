"""When to look at a running task again, learned from the looks themselves. Pure arithmetic.

`schedule` weighs a look's price against the lag that it saves, by what `durations` tells of how long tasks take and
`forecast` of their progress.
"""

from .schedule import PRICE, Course, Mark, Schedule

__all__ = ["PRICE", "Course", "Mark", "Schedule"]
