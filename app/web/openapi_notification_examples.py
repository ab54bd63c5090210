"""Names and example bodies of API operations on webhooks, rules and notices."""

from __future__ import annotations

from typing import Any

from app.web.openapi_operation import Operation

RUN_ID = "r_1kf3t8v0a2mzq4c"
CREATED, ENDED = "2026-11-20T09:30:00Z", "2026-11-20T09:30:41.500Z"

WEBHOOK: dict[str, Any] = {"url": "https://hooks.example.org/runyard", "kinds": ["failed", "rule"]}
WEBHOOK_OUT: dict[str, Any] = WEBHOOK | {
    "id": "w_1kf3t8v0c6gkj1s",
    "secret": "the key that signs its requests",
    "answer": None,
    "created": CREATED,
}
RULE: dict[str, Any] = {"comparison": "above", "metric": "val/acc", "value": 0.99}
RULE_OUT: dict[str, Any] = RULE | {"id": "u_1kf3t8v0d3mx8zp", "run": None, "held": 0, "created": CREATED}
NOTICE: dict[str, Any] = {
    "id": 7,
    "kind": "succeeded",
    "sentence": "#12 simple_cnn base · digits finished",
    "run": RUN_ID,
    "rule": None,
    "created": ENDED,
}

NOTIFICATION_OPERATIONS: dict[tuple[str, str], Operation] = {
    ("GET", "/webhooks"): Operation("list_webhooks", None, {"webhooks": [WEBHOOK_OUT]}),
    ("POST", "/webhooks"): Operation("create_webhook", WEBHOOK, WEBHOOK_OUT),
    ("DELETE", "/webhooks/{webhook_id}"): Operation("delete_webhook"),
    ("POST", "/webhooks/{webhook_id}/test"): Operation("try_webhook", None, {"notice": 7}),
    ("GET", "/rules"): Operation("list_rules", None, {"rules": [RULE_OUT]}),
    ("POST", "/rules"): Operation("create_rule", RULE, RULE_OUT),
    ("DELETE", "/rules/{rule_id}"): Operation("delete_rule"),
    ("GET", "/notices"): Operation("list_notices", None, {"notices": [NOTICE]}),
}
