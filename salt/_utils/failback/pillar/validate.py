"""
Whether a value has the shape that a schema wants, with the standard library alone. Pure.

It knows exactly the keywords that :py:mod:`failback.pillar.schema` uses, and a test holds it against the
``jsonschema`` library.
"""

import re

from failback.pillar import schema as pair_schema

_TYPES = {
    "object": (lambda value: isinstance(value, dict), "a mapping"),
    "array": (lambda value: isinstance(value, list), "a list"),
    "string": (lambda value: isinstance(value, str), "text"),
    "boolean": (lambda value: isinstance(value, bool), "true or false"),
    "number": (lambda value: _is_number(value), "a number"),
    "integer": (lambda value: _is_number(value) and value == int(value), "a whole number"),
}


def _is_number(value):
    # JSON has neither infinity nor "not a number", and its true is not 1.
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return value == value and value not in (float("inf"), float("-inf"))


def violations(value, schema=None, path=()):
    """
    Where a value does not have the shape that a schema wants. Pure.

    value
        What was read from YAML.

    schema
        A part of ``SCHEMA``; by default the shape of one pair.

    path
        Keys that lead to the value.

    Yields ``(path, found, wanted, known)``: the keys as a tuple, the value, what it should be in
    words, and for an unknown key the keys that exist there, else an empty list.
    """
    schema = pair_schema.PAIR if schema is None else schema
    if "$ref" in schema:
        schema = pair_schema.SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]]
    if "anyOf" in schema:
        yield from _any_of(value, schema["anyOf"], path)
        return
    kind = schema.get("type")
    if kind and not _TYPES[kind][0](value):
        yield path, value, _TYPES[kind][1], []
        return
    if "enum" in schema and value not in schema["enum"]:
        yield path, value, "one of " + ", ".join(schema["enum"]), []
    if isinstance(value, dict):
        yield from _mapping(value, schema, path)
    elif isinstance(value, list):
        yield from _sequence(value, schema, path)
    elif isinstance(value, str):
        yield from _text(value, schema, path)
    elif _is_number(value):
        yield from _number(value, schema, path)


def _any_of(value, branches, path):
    # The branches differ in type, so the type says which one was meant.
    for branch in branches:
        if _TYPES[branch["type"]][0](value):
            yield from violations(value, branch, path)
            return
    yield path, value, " or ".join(_TYPES[branch["type"]][1] for branch in branches), []


def _mapping(value, schema, path):
    properties = schema.get("properties", {})
    for key in schema.get("required", []):
        if key not in value:
            yield (*path, key), None, schema_words(properties.get(key, {})) + "; it is missing", []
    for key, inner in value.items():
        if not isinstance(key, str):
            yield (*path, str(key)), key, "a name that is text: write it in quotes", []
            continue
        if "propertyNames" in schema and not re.search(schema["propertyNames"]["pattern"], key):
            yield (*path, key), key, f"a name that matches {schema['propertyNames']['pattern']}", []
        if key in properties:
            yield from violations(inner, properties[key], (*path, key))
        elif schema.get("additionalProperties") is False:
            yield (*path, key), inner, "one of the keys " + ", ".join(properties), list(properties)
        elif isinstance(schema.get("additionalProperties"), dict):
            yield from violations(inner, schema["additionalProperties"], (*path, key))


def _sequence(value, schema, path):
    if len(value) < schema.get("minItems", 0):
        yield path, value, f"a list of at least {schema['minItems']}", []
    for position, inner in enumerate(value):
        yield from violations(inner, schema.get("items", {}), (*path, str(position)))


def _text(value, schema, path):
    if len(value) < schema.get("minLength", 0):
        yield path, value, "text that is not empty", []
    if len(value) > schema.get("maxLength", len(value)):
        yield path, value, f"text of at most {schema['maxLength']} characters", []
    if "pattern" in schema and not re.search(schema["pattern"], value):
        yield (
            path,
            value,
            _PATTERNS.get(schema["pattern"], f"text that matches {schema['pattern']}"),
            [],
        )


#: What the patterns mean to a reader.
_PATTERNS = {
    "^/": "an absolute path",
    pair_schema.MINION_ID: "a minion id: letters, digits, '.', '_' and '-', and a letter or digit first",
    pair_schema.HOST: "a host name or an address",
    pair_schema.UNIT: "a name: letters, digits and any of _.:@-, with no '-' first and no '/'",
}


def _number(value, schema, path):
    if value < schema.get("minimum", value):
        yield path, value, f"a number not below {schema['minimum']}", []
    if value > schema.get("maximum", value):
        yield path, value, f"a number not above {schema['maximum']}", []


def schema_words(schema):
    """What a schema wants, in a few words: its type, or the types it allows."""
    kinds = [schema] if "type" in schema else schema.get("anyOf", [])
    return " or ".join(_TYPES[kind["type"]][1] for kind in kinds) or "a value"
