/** Calls that are limited in how often they run. */

/**
 * A function that calls `action` at most once per interval and never drops the last call.
 * @param {number} milliseconds
 * @param {() => void} action
 */
export function throttle(milliseconds, action) {
  let last = 0;
  let timer = 0;
  return () => {
    if (timer) return;
    const wait = Math.max(0, last + milliseconds - Date.now());
    timer = setTimeout(() => {
      timer = 0;
      last = Date.now();
      action();
    }, wait);
  };
}

/**
 * A function that calls `action` once it has not been called for this long.
 * @param {number} milliseconds
 * @param {() => void} action
 */
export function debounce(milliseconds, action) {
  let timer = 0;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(action, milliseconds);
  };
}
