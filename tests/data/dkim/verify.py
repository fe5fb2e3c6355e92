"""Verifies every DKIM signature of a message with dkimpy.

Standard input: a JSON object of DNS names and TXT records on the first line, then the message.
Standard output: one line for each signature, "True" or "False", top to bottom.
"""
import json
import sys

import dkim

records = json.loads(sys.stdin.buffer.readline())
message = sys.stdin.buffer.read()


def dnsfunc(name, timeout=5):
    name = name.decode() if isinstance(name, bytes) else name
    record = records.get(name.rstrip("."))
    return record.encode() if record else None


signatures = message.lower().split(b"\r\n\r\n")[0].count(b"dkim-signature:")
for index in range(signatures):
    try:
        verdict = dkim.DKIM(message, minkey=1024).verify(idx=index, dnsfunc=dnsfunc)
    except dkim.DKIMException as error:
        print("False", error, file=sys.stderr)
        verdict = False
    print(bool(verdict))
