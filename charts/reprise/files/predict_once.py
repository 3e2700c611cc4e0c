"""Asks the predictor for one prediction, as `helm test` does; a Secret's key goes into REPRISE_API_KEY."""

import http.client
import json
import os
import sys
import time

host, port = sys.argv[1:]
headers = {"Content-Type": "application/json"}
if os.environ.get("REPRISE_API_KEY"):
    headers["Authorization"] = "Bearer " + os.environ["REPRISE_API_KEY"]
connection = http.client.HTTPConnection(host, int(port), timeout=10)
request = json.dumps({"user_id": "helm-test", "product_id": "helm-test"})
# A network that enforces NetworkPolicies may take seconds until those of a new pod let its traffic through.
give_up = time.monotonic() + 30
while connection.sock is None:
    try:
        connection.connect()
    except OSError:
        if time.monotonic() > give_up:
            raise
        time.sleep(0.5)
connection.request("POST", "/predict", request, headers)
response = connection.getresponse()
body = response.read().decode()
print(response.status, body)
if response.status != 200:
    sys.exit("no prediction: see what /ready says, and the predictor's log")
answer = json.loads(body)
if not 0 <= answer["probability"] <= 1:
    sys.exit("the probability is not between 0 and 1")
