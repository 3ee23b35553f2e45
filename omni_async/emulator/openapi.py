"""The emulator's own OpenAPI document, fitted to its scenario."""

import json
from importlib import resources
from typing import Any

from .scenario import Scenario

SEED_SCHEMA = "GeminiOmniGenerationRequest"
OPEN_OBJECTS = ("GuideRequest", "ToapisRequest", "ToapisFlashRequest", "ToapisFlash1080Request")


def document(scenario: Scenario, base: str) -> dict[str, Any]:
    """The document as it holds for this scenario (`closed`, `modes`), served at `base`."""
    text = resources.files(__package__).joinpath("openapi.json").read_text("utf-8")
    parsed: dict[str, Any] = json.loads(text)
    parsed["servers"] = [{"url": base}]
    schemas = parsed["components"]["schemas"]
    schemas["GuideRequest"]["properties"]["mode"]["enum"] = list(scenario.modes)
    if scenario.closed:
        schemas[SEED_SCHEMA]["additionalProperties"] = False
    elif scenario.closed is False:
        for name in OPEN_OBJECTS:
            del schemas[name]["additionalProperties"]
        del schemas["GuideRequest"]["properties"]["input"]["additionalProperties"]
    return parsed
