import assert from "node:assert/strict";
import { test } from "node:test";
import { futureTime, relativeTime } from "../../static/relative-time.js";

test("relativeTime", () => {
  const now = Date.UTC(2026, 4, 7, 12);
  const ago = (seconds) => relativeTime(new Date(now - seconds * 1000), now);
  assert.deepEqual([0, 4, 5, 59, 60, 3599, 3600, 86_399, 86_400, 14 * 86_400 - 1].map(ago), [
    "just now",
    "just now",
    "5 s ago",
    "59 s ago",
    "1 min ago",
    "59 min ago",
    "1 h ago",
    "23 h ago",
    "1 d ago",
    "13 d ago",
  ]);
  assert.match(ago(14 * 86_400), /2026/);
  // A server whose clock is ahead.
  assert.equal(ago(-30), "just now");
});

test("futureTime", () => {
  const now = Date.UTC(2026, 4, 7, 12);
  const ahead = (seconds) => futureTime(new Date(now + seconds * 1000), now);
  assert.deepEqual([-30, 0, 1, 59, 60, 300, 3599, 3600, 172_799, 172_800, 90 * 86_400 - 1].map(ahead), [
    "now",
    "now",
    "in 1 s",
    "in 59 s",
    "in 1 min",
    "in 5 min",
    "in 59 min",
    "in 1 h",
    "in 47 h",
    "in 2 d",
    "in 90 d",
  ]);
});
