"""A faithful emulator of the three gateways; it needs no key, charges nobody and imports nothing of the client."""

from .ledger import Charge, Delivery, Ledger, SeenRequest
from .scenario import FAULT_KINDS, InjectedFault, Scenario
from .server import Emulator
from .threaded import ThreadedEmulator

__all__ = [
    "FAULT_KINDS",
    "Charge",
    "Delivery",
    "Emulator",
    "InjectedFault",
    "Ledger",
    "Scenario",
    "SeenRequest",
    "ThreadedEmulator",
]
