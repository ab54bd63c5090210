"""Names and example bodies of API operations on people, sessions, tokens and the audit log."""

from __future__ import annotations

from typing import Any

from app.web.openapi_operation import Operation

CREATED, USED, EXPIRES = "2026-11-20T09:30:00Z", "2026-11-20T10:02:11Z", "2027-02-18T09:30:00Z"
TOKEN: dict[str, Any] = {"name": "laptop", "scope": "launch", "days": 90}
TOKEN_OUT: dict[str, Any] = {
    "id": "t_1kf3t8v0a2mzq4c",
    "user": "ada",
    "name": "laptop",
    "scope": "launch",
    "hint": "ry_Gm3pQ",
    "created": CREATED,
    "expires": EXPIRES,
    "used": USED,
}
NEW_TOKEN: dict[str, Any] = {
    "secret": "ry_Gm3pQ…",
    "token": TOKEN_OUT | {"used": None},
}
USER_OUT: dict[str, Any] = {
    "name": "grace",
    "role": "member",
    "created": CREATED,
    "disabled": None,
    "has_password": True,
    "subject": None,
    "most_running": 2,
    "most_queued": None,
    "active": 1,
    "queued": 3,
}
SYSTEM: dict[str, Any] = {
    "ok": True,
    "checks": [{"what": "Redis", "state": "ok", "said": "responds and keeps its data", "advice": ""}],
    "versions": {"Runyard": "1.0", "Python": "3.11.2", "PyTorch": "2.15.0", "Redis": "7.2.4"},
    "workers": [{"id": "laptop-4711", "versions": {"torch": "2.15.0"}}],
    "disk": dict.fromkeys(("checkpoints", "predictions", "exports", "files", "histograms_and_texts", "unknown"), 0),
}
RETENTION: dict[str, Any] = {
    "rules": [{"setting": "RUNYARD_CHECKPOINTS_DAYS", "value": 30, "unit": "days"}],
    "entries": [
        {
            "kind": "checkpoints",
            "run": "r_1kf3t8v0a2mzq4c",
            "number": 12,
            "title": "vit tiny · digits",
            "since": CREATED,
            "why": "ended 41.0 days ago, kept for 30 days",
            "files": 4,
            "bytes": 412_000_000,
        }
    ],
    "count": 1,
    "bytes": 412_000_000,
    "missing": 0,
    "deleting_files": 0,
    "deleting_bytes": 0,
}
SESSION: dict[str, Any] = {
    "id": 4,
    "kind": "command",
    "client": "runyard on laptop",
    "address": "192.0.2.7",
    "created": CREATED,
    "seen": USED,
    "current": True,
}
EVENT: dict[str, Any] = {
    "id": 31,
    "time": CREATED,
    "who": "ada",
    "credential": "session",
    "address": "192.0.2.7",
    "action": "run.launch",
    "target": "r_1kf3t8v0a2mzq4c",
    "detail": {},
}
WORKER_TOKEN: dict[str, Any] = {
    "id": "w_1kf3t8v0a2mzq4c",
    "created": CREATED,
    "created_by": "ada",
    "expires": "2026-11-20T10:30:00Z",
    "uses_left": 0,
    "host": "gpu-box",
    "used": USED,
}

PEOPLE_OPERATIONS: dict[tuple[str, str], Operation] = {
    ("POST", "/sign-in"): Operation(
        "create_session",
        {"name": "ada", "password": "correct horse battery", "client": "runyard on laptop"},
        {"token": "rys_…", "name": "ada", "role": "administrator"},
    ),
    ("POST", "/sign-out"): Operation("delete_own_session"),
    ("GET", "/whoami"): Operation(
        "read_caller",
        None,
        {"name": "ada", "role": "viewer", "credential": "session", "permissions": ["account", "log-read", "read"]},
    ),
    ("PUT", "/account/password"): Operation(
        "change_own_password", {"current": "correct horse battery", "new": "another horse, another battery"}
    ),
    ("GET", "/account/sessions"): Operation("list_own_sessions", None, {"sessions": [SESSION]}),
    ("DELETE", "/account/sessions"): Operation("delete_own_sessions", None, {"ended": 3}),
    ("DELETE", "/account/sessions/{session_id}"): Operation("delete_session"),
    ("GET", "/account/tokens"): Operation("list_own_tokens", None, {"tokens": [TOKEN_OUT]}),
    ("POST", "/account/tokens"): Operation("create_own_token", TOKEN, NEW_TOKEN),
    ("DELETE", "/account/tokens/{token_id}"): Operation("delete_own_token"),
    ("GET", "/users"): Operation(
        "list_users", None, {"users": [USER_OUT], "removed": [], "most_running": 0, "most_queued": 0}
    ),
    ("POST", "/users"): Operation(
        "create_user", {"name": "grace", "role": "member", "password": "correct horse battery"}, USER_OUT
    ),
    ("PATCH", "/users/{name}"): Operation("edit_user", {"role": "viewer"}, USER_OUT | {"role": "viewer"}),
    ("DELETE", "/users/{name}"): Operation("delete_user"),
    ("POST", "/users/{name}/restore"): Operation("restore_user", None, USER_OUT),
    ("GET", "/system"): Operation("read_system", None, SYSTEM),
    ("GET", "/retention"): Operation("read_retention", None, RETENTION),
    ("POST", "/retention"): Operation("apply_retention", None, {"count": 1, "bytes": 412_000_000, "left": 0}),
    ("POST", "/users/{name}/tokens"): Operation("create_user_token", TOKEN, NEW_TOKEN),
    ("GET", "/tokens"): Operation("list_tokens", None, {"tokens": [TOKEN_OUT]}),
    ("DELETE", "/tokens/{token_id}"): Operation("delete_token"),
    ("GET", "/audit"): Operation("list_audit_events", None, {"events": [EVENT], "next": 31}),
    ("GET", "/audit.csv"): Operation("export_audit_events"),
    ("GET", "/worker-tokens"): Operation("list_worker_tokens", None, {"tokens": [WORKER_TOKEN]}),
    ("POST", "/worker-tokens"): Operation(
        "create_worker_token",
        {"hours": 1, "uses": 1},
        {"secret": "ryj_…", "command": "runyard join ryj_…", "token": WORKER_TOKEN | {"host": "", "used": None}},
    ),
    ("DELETE", "/worker-tokens/{token_id}"): Operation("delete_worker_token"),
    ("POST", "/join"): Operation(
        "create_worker",
        {"secret": "Gm3pQ…", "host": "gpu-box", "version": "0.2.0", "protocol": 1},
        {
            "version": "0.2.0",
            "protocol": 1,
            "environment": {"RUNYARD_REDIS_URL": "rediss://…", "RUNYARD_ARTIFACT_URL": "s3://yard/runyard"},
            "redis_certificate": "",
            "store_certificate": "",
            "architecture_key": "",
        },
    ),
    ("POST", "/welcome"): Operation("create_welcome_address", None, {"path": "/welcome?code=…"}),
}
