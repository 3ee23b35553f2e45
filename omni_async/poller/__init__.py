"""The poller: one schedule of many ids, each looked at while somebody waits for it.

`poller` looks at what `agenda` says is due; `followed` is what is known of one id, `known` all of them, those let go
too. `waiting` is how callers wait for one id, `iterators` how for the changes of one and the ends of many; `resumed`
gives them what an earlier run left.
"""

from .followed import traits_of
from .iterators import Completed, Watch
from .poller import Poller
from .resumed import Resumed

__all__ = ["Completed", "Poller", "Resumed", "Watch", "traits_of"]
