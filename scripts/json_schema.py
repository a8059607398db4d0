"""JSON Schema's check of a value, as far as docs/schema needs it, which Python's standard library lacks: it adds that the
members of an object stand in the order of `required`, and those of any other JSON in the order of their names."""
import json, os, re

SCHEMA = json.load(open(os.path.join(os.path.dirname(__file__), "../docs/schema/record.schema.json")))
TYPES = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool, "null": type(None)}


def named(reference):
    """The definition that a reference names."""
    return SCHEMA["$defs"][reference["$ref"].split("/")[-1]]


def is_sorted(value):
    """Whether the members of any JSON stand in the order of their names."""
    if isinstance(value, dict):
        return list(value) == sorted(value) and all(is_sorted(part) for part in value.values())
    return not isinstance(value, list) or all(is_sorted(part) for part in value)


def in_order(value, schema=SCHEMA):
    """Whether a value's members stand in the order of its schema; ValueError where it is not of the schema."""
    schema = named(schema) if "$ref" in schema else schema
    choices = schema.get("oneOf", schema.get("anyOf", ()))
    for choice in choices:
        try:
            return in_order(value, choice)
        except ValueError as error:
            wrong = error
    if choices:
        raise wrong
    if "type" not in schema:
        return is_sorted(value)
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    fits = type(value) in [TYPES[name] for name in types] and value == schema.get("const", value)
    if type(value) is int:
        fits = fits and schema["minimum"] <= value <= schema["maximum"]
    if type(value) is str:
        fits = fits and re.fullmatch(schema.get("pattern", "(?s:.*)"), value)
    if not fits:
        raise ValueError(f"{value!r:.40} is not as expected")
    if type(value) is list:
        return all([in_order(item, schema["items"]) for item in value])
    if type(value) is not dict:
        return True
    parts, due = schema.get("properties", {}), schema.get("required")
    if due is None:
        names = [name["const"] for name in named(schema["propertyNames"])["oneOf"]]
        due = [name for name in names if name in value]
    if set(value) != set(due):
        raise ValueError(f"a member is missing or unknown: {sorted(set(value) ^ set(due))}")
    return all([list(value) == due, *[in_order(value[name], parts.get(name, {})) for name in value]])
