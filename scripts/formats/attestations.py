"""Reads attestations as in-toto and securesystemslib do: KEY.pub.pem FILE..."""
import base64
import json
import sys

from cryptography.hazmat.primitives.serialization import load_pem_public_key
from google.protobuf import json_format
from in_toto_attestation.predicates.test_result.v0.test_result_pb2 import TestResult
from in_toto_attestation.v1.statement import Statement
from in_toto_attestation.v1.statement_pb2 import Statement as StatementPb
from securesystemslib.dsse import Envelope
from securesystemslib.signer import SSlibKey

with open(sys.argv[1], "rb") as pem:
    key = SSlibKey.from_crypto(load_pem_public_key(pem.read()))

for path in sys.argv[2:]:
    with open(path, "rb") as file:
        content = json.loads(file.read())
    # The library looks for a signature under the key id that it computes itself.
    envelope = Envelope.from_dict(json.loads(json.dumps(content)))
    envelope.verify([key], 1)
    payload = base64.b64decode(content["payload"])
    statement = json_format.Parse(payload, StatementPb())
    Statement.copy_from_pb(statement).validate()
    predicate = json.loads(payload)["predicate"]
    if statement.predicate_type.endswith("/test-result/v0.1"):
        json_format.ParseDict(predicate, TestResult())
    print(f"{path}: signature, statement and predicate {statement.predicate_type}")
