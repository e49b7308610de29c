"""Checks an AsyncAPI document against the specification's own schema: asyncapi.py SCHEMA DOCUMENT"""

import json
import sys

import jsonschema
import yaml

with open(sys.argv[1]) as schema, open(sys.argv[2]) as document:
    errors = list(jsonschema.Draft7Validator(json.load(schema)).iter_errors(yaml.safe_load(document)))
for error in errors[:10]:
    print(f"{error.json_path}: {error.message[:300]}")
sys.exit(f"{sys.argv[2]} is not valid AsyncAPI" if errors else 0)
