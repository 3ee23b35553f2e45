"""What an account allows, found out and kept to: requests a second, requests in flight, tasks that run.

`limiter` is the door at which callers wait; behind it everything is synchronous, and times are passed in. `admission`
decides who goes, by `tickets`. `controllers` says who is to blame for a refusal: `pace` (with `bracket`, `estimate` and
`minutes`), `window` or `slots`; for a create `trials` find it out, and let only so many stand in `line`. `chance` knows
the refusals that nobody is to blame for, `pauses` how long nothing goes.
"""

from .admission import Admission
from .controllers import Controller
from .limiter import UNSENT, Limiter, Load
from .tickets import POLL, Decision, Kind, Ticket

__all__ = ["POLL", "UNSENT", "Admission", "Controller", "Decision", "Kind", "Limiter", "Load", "Ticket"]
