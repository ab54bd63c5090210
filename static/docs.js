/** The API's description, drawn by Swagger UI from this server's own files. */

const place = /** @type {HTMLElement} */ (document.getElementById("swagger"));

window.SwaggerUIBundle({
  domNode: place,
  url: place.dataset.openapi,
  deepLinking: true,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  validatorUrl: null,
  syntaxHighlight: { activated: false },
  presets: [window.SwaggerUIBundle.presets.apis],
});
