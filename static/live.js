/**
 * The one stream of server-sent events that a tab holds. It is closed while nobody looks, because a browser opens six
 * connections to a host at most, and goes on after the last event it heard.
 */

const AGAIN_MILLISECONDS = 3000;
const LOOK_MILLISECONDS = 2000;
/** A timer that comes so late says that the machine slept: what was connected before may be dead without a word. */
const SLEPT_MILLISECONDS = 15_000;
/** A stream that can be resumed and says nothing for so long is opened anew: that costs little, and loses nothing. */
const SILENT_MILLISECONDS = 30_000;
const EVENTS = ["changed", "status", "progress", "metrics", "log", "mark", "reset", "end", "gone"];

export class Stream {
  /**
   * @param {string} address
   * @param {(event: string, data: any) => void} tell
   * @param {string | number | null} after the commit (or event id) that the page was made at; null for a stream that cannot be resumed
   */
  constructor(address, tell, after) {
    this.address = address;
    this.tell = tell;
    this.after = after;
    /** @type {EventSource | null} */
    this.source = null;
    this.over = false;
    this.again = 0;
    /** When something was heard last, and since when nothing can be heard; milliseconds since 1970, 0 while it can. */
    this.heardAt = Date.now();
    this.lostAt = 0;
    /** Called when the connection is lost or there again. */
    this.onconnection = () => {};
    this.lookedAt = Date.now();
    setInterval(() => this.look(), LOOK_MILLISECONDS);
    addEventListener("online", () => this.reopen());
    document.addEventListener("visibilitychange", () => (document.hidden ? this.close() : this.open()));
    addEventListener("pagehide", () => this.close());
    addEventListener("pageshow", () => this.open());
    this.open();
  }

  open() {
    if (this.over || this.source || document.hidden) return;
    const source = new EventSource(this.after === null ? this.address : `${this.address}?after=${this.after}`);
    this.source = source;
    source.onopen = () => {
      document.body.dataset.live = "1";
      this.lostAt = 0;
      this.heardAt = Date.now();
      this.onconnection();
      if (this.after === null) this.tell("changed", {});
    };
    source.onerror = () => {
      document.body.dataset.live = "0";
      this.lostAt ||= Date.now();
      this.onconnection();
      if (source.readyState !== EventSource.CLOSED || this.source !== source) return;
      this.close();
      this.again = setTimeout(() => this.open(), AGAIN_MILLISECONDS);
    };
    for (const name of EVENTS) source.addEventListener(name, (event) => this.hear(name, event));
  }

  /**
   * @param {string} name
   * @param {MessageEvent} event
   */
  hear(name, event) {
    this.heardAt = Date.now();
    if (this.after !== null && event.lastEventId) this.after = event.lastEventId;
    if (name === "end" || name === "gone") this.finish();
    this.tell(name, JSON.parse(event.data));
  }

  /** Go on from another commit: the page was told everything up to there in another way. */
  resume(/** @type {number} */ after) {
    this.close();
    this.after = after;
    this.open();
  }

  /** Open a connection anew that may be dead, though nobody has said so. */
  reopen() {
    if (this.over || !this.source) return;
    this.close();
    this.open();
  }

  look() {
    const now = Date.now();
    const slept = now - this.lookedAt > SLEPT_MILLISECONDS;
    this.lookedAt = now;
    const silent = this.after !== null && now - this.heardAt > SILENT_MILLISECONDS;
    if (!slept && !silent) return;
    this.heardAt = now;
    this.reopen();
  }

  close() {
    clearTimeout(this.again);
    this.source?.close();
    this.source = null;
    document.body.dataset.live = "0";
  }

  finish() {
    this.over = true;
    this.close();
  }
}

/**
 * At most one call in so many milliseconds, the last one never left out.
 * @param {number} milliseconds
 * @param {() => void} act
 */
export function throttled(milliseconds, act) {
  let last = 0;
  let timer = 0;
  return () => {
    if (timer) return;
    const wait = Math.max(0, last + milliseconds - Date.now());
    timer = setTimeout(() => {
      timer = 0;
      last = Date.now();
      act();
    }, wait);
  };
}

/**
 * A call once nothing has asked for it for so many milliseconds.
 * @param {number} milliseconds
 * @param {() => void} act
 */
export function debounced(milliseconds, act) {
  let timer = 0;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(act, milliseconds);
  };
}

/** Tell the fragments on this page that something changed; htmx listens for it. */
export function announce(/** @type {string} */ name) {
  document.body.dispatchEvent(new Event(name));
}
