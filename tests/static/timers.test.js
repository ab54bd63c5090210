import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { debounce, throttle } from "../../static/timers.js";

describe("timers", () => {
  test("throttle calls at most once per interval and keeps the last call", ({ mock }) => {
    mock.timers.enable({ apis: ["setTimeout", "Date"], now: 1_000_000 });
    const action = mock.fn();
    const call = throttle(1000, action);
    call();
    call();
    mock.timers.tick(0);
    assert.equal(action.mock.callCount(), 1);
    call();
    mock.timers.tick(999);
    assert.equal(action.mock.callCount(), 1);
    mock.timers.tick(1);
    assert.equal(action.mock.callCount(), 2);
    mock.timers.tick(5000);
    assert.equal(action.mock.callCount(), 2);
  });
  test("debounce calls once, after the last call", ({ mock }) => {
    mock.timers.enable({ apis: ["setTimeout"] });
    const action = mock.fn();
    const call = debounce(100, action);
    call();
    mock.timers.tick(99);
    call();
    mock.timers.tick(99);
    assert.equal(action.mock.callCount(), 0);
    mock.timers.tick(1);
    assert.equal(action.mock.callCount(), 1);
  });
});
