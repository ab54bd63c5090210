/** The API reference, rendered by Swagger UI from files of this server. */

import { byId } from "./dom.js";

const container = byId("swagger", HTMLElement);

/** @typedef {{React: {createElement(type: string, props: null, child: string): unknown}}} SwaggerSystem */

/** Renders names as text, not as links: they are inside buttons, which must not contain other focusable elements. */
const plainNames = () => ({
  wrapComponents: {
    DeepLink:
      (/** @type {unknown} */ _original, /** @type {SwaggerSystem} */ { React }) =>
      (/** @type {{text: string}} */ { text }) =>
        React.createElement("span", null, text),
  },
});

// Accessibility that Swagger UI lacks: scrollable examples take the focus, and text areas have a label.
new MutationObserver(() => {
  for (const body of container.querySelectorAll("textarea:not([aria-label])")) {
    body.setAttribute("aria-label", "Request body");
  }
  for (const example of container.querySelectorAll(".microlight:not([tabindex])")) {
    example.setAttribute("tabindex", "0");
  }
}).observe(container, { childList: true, subtree: true });

window.SwaggerUIBundle({
  domNode: container,
  url: container.dataset.openapi,
  deepLinking: true,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  validatorUrl: null,
  syntaxHighlight: { activated: false },
  presets: [window.SwaggerUIBundle.presets.apis],
  plugins: [plainNames],
});
