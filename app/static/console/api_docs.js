/* Swagger over our own document; requests tried from the page carry the session's CSRF token. */
const box = document.querySelector("#swagger"), token = document.querySelector("input[name=csrf_token]")?.value || "";
window.SwaggerUIBundle({
  url: box.dataset.url, domNode: box, deepLinking: true, docExpansion: "none", defaultModelsExpandDepth: -1, filter: true,
  validatorUrl: null, requestInterceptor: r => { r.headers["X-CSRFToken"] = token; return r; }
});
