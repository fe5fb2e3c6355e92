"""Asks for a code by urllib over HTTP or HTTPS, looks how it stands, and says whether it was used."""
import json
import ssl
import sys
import urllib.error
import urllib.request

base, token, authority, number = sys.argv[1:5]
context = ssl.create_default_context(cafile=authority) if authority else None


def ask(path, body=None, **fields):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(base + path, data, {"Authorization": f"Bearer {token}", **fields})
    if data is not None:
        request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, context=context, timeout=60) as response:
        text = response.read()
        return response.status, json.loads(text) if text else None


code = {"to": number, "code": "739182", "factor": "primary"}
key = {"Idempotency-Key": f'"for {number}"'}
status, taken = ask("/v1/otp", code, **key)
assert status == 202, status
assert ask("/v1/otp", code, **key)[1]["id"] == taken["id"]
status, view = ask(f"/v1/otp/{taken['id']}")
assert status == 200 and view["id"] == taken["id"], view
assert ask(f"/v1/otp/{taken['id']}/feedback", {"used": True}) == (204, None)
assert ask("/openapi.json")[1]["openapi"].startswith("3.1")
try:
    ask("/v1/otp", {**code, "text": "anything"})
    raise SystemExit("an unknown member was taken")
except urllib.error.HTTPError as refused:
    problem = json.load(refused)
    assert refused.code == 422 and refused.headers["Content-Type"] == "application/problem+json", problem
print(taken["id"])
