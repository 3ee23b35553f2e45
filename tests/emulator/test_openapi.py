"""The document: the seed's schemas unchanged, all others closed, true to the scenario."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from .conftest import BODIES

SEED = Path(__file__).parents[1] / "samples" / "jimmy" / "openapi.yaml"
SEED_SCHEMAS = {"GeminiOmniGenerationRequest", "VideoGenerationResponse"}


def open_objects(schema: Any, path: str = ""):
    """Where in a schema an object takes unknown fields."""
    if isinstance(schema, dict):
        if schema.get("type") == "object" and not {"additionalProperties", "unevaluatedProperties"} & set(schema):
            yield path
        for key, value in schema.items():
            yield from open_objects(value, f"{path}/{key}")
    elif isinstance(schema, list):
        for index, value in enumerate(schema):
            yield from open_objects(value, f"{path}/{index}")


async def test_only_the_seed_is_open(talk):
    """Each object but the seed's own two is closed."""
    async with talk() as client:
        _, document = await client.get("/openapi.json")
        for name in SEED_SCHEMAS:
            assert list(open_objects(document["components"]["schemas"].pop(name)))
        del document["paths"]["/openapi.json"]  # describes itself no further than that it is a document
        assert list(open_objects(document)) == []
        assert document["servers"] == [{"url": client.emulator.url}]


async def test_the_seed_is_unchanged(talk):
    """Request and answer of a jimmy create are the seed's own schemas, as are their place and key."""
    seed = yaml.safe_load(SEED.read_text("utf-8"))
    async with talk() as client:
        _, document = await client.get("/openapi.json")
    for name in SEED_SCHEMAS:
        assert document["components"]["schemas"][name] == seed["components"]["schemas"][name]
    assert document["components"]["securitySchemes"] == seed["components"]["securitySchemes"]
    for path, item in seed["paths"].items():
        create = document["paths"][path]["post"]
        assert create["requestBody"] == item["post"]["requestBody"]
        assert create["responses"]["200"] == item["post"]["responses"]["200"]


@pytest.mark.parametrize(
    ("fields", "jimmy", "others"),
    [({}, True, False), ({"closed": True}, False, False), ({"closed": False}, True, True)],
)
async def test_the_document_says_what_the_emulator_does(talk, fields, jimmy, others):
    """Unknown fields pass exactly where the document lets them."""
    async with talk(**fields) as client:
        schemas = (await client.get("/openapi.json"))[1]["components"]["schemas"]
        names = {"jimmy": "GeminiOmniGenerationRequest", "gemini_omni": "GuideRequest", "toapis": "ToapisRequest"}
        for gateway, (path, body) in BODIES.items():
            expected = jimmy if gateway == "jimmy" else others
            assert ("additionalProperties" not in schemas[names[gateway]]) is expected
            assert ((await client.post(path, {**body, "unknown": 1}))[0] == 200) is expected


async def test_modes_of_the_scenario(talk):
    """Modes spelt otherwise are in the document, too."""
    async with talk(modes=["r2v"]) as client:
        schemas = (await client.get("/openapi.json"))[1]["components"]["schemas"]
        assert schemas["GuideRequest"]["properties"]["mode"]["enum"] == ["r2v"]
