"""What schemathesis has to be told about this API."""

import schemathesis


@schemathesis.serializer("application/cbor", "application/octet-stream")
def raw(_context, value):
    """Bodies that are bytes go as they are; what else is made up for them, as text."""
    return value if isinstance(value, bytes) else str(value).encode()


@schemathesis.hook
def map_query(_context, query):
    """A wait for results is part of the API, and nothing to wait for here."""
    if query and str(query.get("wait", "")).isdigit() and int(query["wait"]) <= 30_000:
        query["wait"] = min(int(query["wait"]), 50)
    return query


@schemathesis.hook
def filter_case(_context, case):
    """A header that nobody knows is no reason to refuse a call: proxies add some."""
    return "x-schemathesis-unknown-property" not in (case.headers or {})
