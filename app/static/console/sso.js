// The sign-in page finds an address's identity provider in the background: nobody with a password waits for it.
const form = document.querySelector("form[data-sign-in]");
if (form) {
  const email = form.querySelector("input[name=email]");
  const found = form.querySelector("[data-sso-found]");
  const link = form.querySelector("[data-sso-link]");
  const name = form.querySelector("[data-sso-name]");
  const only = form.querySelector("[data-sso-only]");
  const password = form.querySelector("[data-password]");
  let asked = "";

  const show = (answer) => {
    const available = Boolean(answer && answer.sso_available && answer.sign_in_url);
    found.hidden = !available;
    password.hidden = available && answer.enforce_sso;
    only.hidden = !(available && answer.enforce_sso);
    link.classList.toggle("primary", available && answer.enforce_sso);
    if (!available) return;
    name.textContent = `Continue with ${answer.organization_name}`;
    const start = new URL(form.dataset.start, location.href);
    start.searchParams.set("email", email.value.trim());
    link.href = start.href;
  };

  const ask = async () => {
    const value = email.value.trim().toLowerCase();
    if (value === asked || !/^[^@\s]+@[^@\s]+\.[^@\s]+$/.test(value)) return;
    asked = value;
    const stop = new AbortController();
    const timer = setTimeout(() => stop.abort(), 3000);
    try {
      const response = await fetch(`${form.dataset.signIn}?email=${encodeURIComponent(value)}`, { signal: stop.signal });
      if (response.ok && asked === value) show(await response.json());
    } catch {
      // the password stays where it is
    } finally {
      clearTimeout(timer);
    }
  };
  email.addEventListener("change", ask);
  email.addEventListener("blur", ask);
  if (email.value && found.hidden) ask();
  form.addEventListener("submit", (event) => {
    if (!password.hidden) return;
    event.preventDefault();
    link.click();
  });
}
