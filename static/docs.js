/** The API's description, drawn by Swagger UI from this server's own files. */

const place = /** @type {HTMLElement} */ (document.getElementById("swagger"));

/** Names are text within their button, and no links of their own: a button holds nothing else that takes the focus. */
const namesAreText = () => ({
  wrapComponents: {
    DeepLink: (/** @type {unknown} */ _, /** @type {any} */ { React }) => (/** @type {{text: string}} */ { text }) =>
      React.createElement("span", null, text),
  },
});

// What scrolls can be scrolled by keyboard, and what is typed into has a name.
new MutationObserver(() => {
  for (const body of place.querySelectorAll("textarea:not([aria-label])")) body.setAttribute("aria-label", "request body");
  for (const example of place.querySelectorAll(".microlight:not([tabindex])")) example.setAttribute("tabindex", "0");
}).observe(place, { childList: true, subtree: true });

window.SwaggerUIBundle({
  domNode: place,
  url: place.dataset.openapi,
  deepLinking: true,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  validatorUrl: null,
  syntaxHighlight: { activated: false },
  presets: [window.SwaggerUIBundle.presets.apis],
  plugins: [namesAreText],
});
