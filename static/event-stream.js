/** The tab's stream of server-sent events, and the events that tell htmx to refresh fragments. */

const RETRY_MILLISECONDS = 3000;
const CHECK_MILLISECONDS = 2000;
/** A check that is this late shows that the machine was asleep: its connections may be dead without an error. */
const SLEPT_MILLISECONDS = 15_000;
/** A resumable stream that is silent for this long is reopened, which is cheap and loses nothing. */
const SILENT_MILLISECONDS = 30_000;
const EVENTS = ["changed", "status", "progress", "metrics", "log", "mark", "reset", "end", "gone"];

/**
 * One stream of server-sent events. It is closed while the tab is hidden, because a browser opens at most six connections
 * to a host, and resumes after the last event it received.
 */
export class EventStream {
  /**
   * @param {string} url
   * @param {(event: string, data: any) => void} onEvent
   * @param {string | number | null} after the commit (or event id) that the page shows; null if the stream cannot resume
   */
  constructor(url, onEvent, after) {
    this.url = url;
    this.onEvent = onEvent;
    this.after = after;
    /** @type {EventSource | null} */
    this.source = null;
    this.finished = false;
    this.retryTimer = 0;
    /** When the last event arrived, in milliseconds since 1970. */
    this.receivedAt = Date.now();
    /** Since when the connection is lost; 0 if it is not. */
    this.lostAt = 0;
    /** Called when the connection is lost or restored. */
    this.onConnectionChange = () => {};
    this.checkedAt = Date.now();
    setInterval(() => this.check(), CHECK_MILLISECONDS);
    addEventListener("online", () => this.reopen());
    document.addEventListener("visibilitychange", () => (document.hidden ? this.close() : this.open()));
    addEventListener("pagehide", () => this.close());
    addEventListener("pageshow", () => this.open());
    this.open();
  }

  open() {
    if (this.finished || this.source || document.hidden) return;
    const source = new EventSource(this.after === null ? this.url : `${this.url}?after=${this.after}`);
    this.source = source;
    source.onopen = () => {
      document.body.dataset.live = "1";
      this.lostAt = 0;
      this.receivedAt = Date.now();
      this.onConnectionChange();
      if (this.after === null) this.onEvent("changed", {});
    };
    source.onerror = () => {
      document.body.dataset.live = "0";
      this.lostAt ||= Date.now();
      this.onConnectionChange();
      if (source.readyState !== EventSource.CLOSED || this.source !== source) return;
      this.close();
      this.retryTimer = setTimeout(() => this.open(), RETRY_MILLISECONDS);
    };
    for (const name of EVENTS) source.addEventListener(name, (event) => this.receive(name, event));
  }

  /**
   * @param {string} name
   * @param {MessageEvent} event
   */
  receive(name, event) {
    this.receivedAt = Date.now();
    if (this.after !== null && event.lastEventId) this.after = event.lastEventId;
    if (name === "end" || name === "gone") this.finish();
    this.onEvent(name, JSON.parse(event.data));
  }

  /** Continue from another commit, because the page has loaded everything up to it. */
  resume(/** @type {number} */ after) {
    this.close();
    this.after = after;
    this.open();
  }

  reopen() {
    if (this.finished || !this.source) return;
    this.close();
    this.open();
  }

  /** Reopen a connection that may be dead. */
  check() {
    const now = Date.now();
    const slept = now - this.checkedAt > SLEPT_MILLISECONDS;
    this.checkedAt = now;
    const silent = this.after !== null && now - this.receivedAt > SILENT_MILLISECONDS;
    if (!slept && !silent) return;
    this.receivedAt = now;
    this.reopen();
  }

  close() {
    clearTimeout(this.retryTimer);
    this.source?.close();
    this.source = null;
    document.body.dataset.live = "0";
  }

  finish() {
    this.finished = true;
    this.close();
  }
}

/** Dispatch an event that the page's fragments refresh on. */
export function announce(/** @type {string} */ name) {
  document.body.dispatchEvent(new Event(name));
}
