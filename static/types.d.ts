// Types of what the modules share through `window`, through events, and through uPlot and htmx.

import type htmx from "htmx.org";
import type { Idiomorph } from "idiomorph";
import type uPlot from "uplot";
import type { ChartBoard } from "./chart-board.js";

/** What a line of a chart is: a curve, the raw trace behind a smoothed one, or an edge of a confidence band. */
export type LineKind = "plain" | "smooth" | "faint" | "high" | "low";

interface SwaggerUIBundle {
  (options: Record<string, unknown>): unknown;
  presets: { apis: unknown };
}

interface HtmxSwapDetail {
  target: HTMLElement;
  elt: HTMLElement;
  shouldSwap: boolean;
  serverResponse: string;
  requestConfig: { elt: HTMLElement; path: string };
}

interface HtmxRequestDetail {
  target: HTMLElement;
  elt: HTMLElement;
  successful: boolean;
}

declare global {
  interface Window {
    htmx: typeof htmx;
    Idiomorph: typeof Idiomorph;
    /** Missing when the script could not be loaded. */
    uPlot?: typeof uPlot;
    SwaggerUIBundle: SwaggerUIBundle;
    /** The charts of this page, by key, and the board they belong to. */
    runyard: { charts: Record<string, uPlot>; board: ChartBoard };
  }

  interface DocumentEventMap {
    "htmx:load": CustomEvent<{ elt: HTMLElement }>;
    "htmx:beforeSwap": CustomEvent<HtmxSwapDetail>;
    "htmx:afterSwap": CustomEvent<HtmxSwapDetail>;
    "htmx:afterSettle": CustomEvent<HtmxSwapDetail>;
    "htmx:oobBeforeSwap": CustomEvent<HtmxSwapDetail>;
    "htmx:oobAfterSwap": CustomEvent<HtmxSwapDetail>;
    "htmx:beforeRequest": CustomEvent<HtmxRequestDetail>;
    "htmx:afterRequest": CustomEvent<HtmxRequestDetail>;
    "theme-changed": Event;
    "run-marks": Event;
  }

  interface HTMLElementEventMap {
    /** A chart or a group is to move by this number of places. */
    "chart-move": CustomEvent<number>;
  }
}

declare module "uplot" {
  interface Series {
    /** Ours: uPlot keeps options that it does not know. */
    kind?: LineKind;
  }

  interface Axis {
    /** The tick values and labels of the last draw; not part of uPlot's documented interface. */
    _splits?: number[];
    _values?: (string | null)[];
  }
}
