(() => {
  const every = Number(document.body.dataset.every) * 1000;
  const lost = document.getElementById("lost");
  let since = null;

  async function refresh() {
    if (document.hidden || !getSelection().isCollapsed) return;
    try {
      const answer = await fetch(location.pathname, { cache: "no-store", signal: AbortSignal.timeout(10000) });
      const next = new DOMParser().parseFromString(await answer.text(), "text/html");
      const main = next.querySelector("main");
      if (!answer.ok || !main) throw new Error(String(answer.status));
      for (const open of document.querySelectorAll("details[open]")) {
        main.querySelector("#" + open.id)?.setAttribute("open", "");
      }
      document.querySelector("main").replaceWith(main);
      document.querySelector("link[rel=icon]").replaceWith(next.querySelector("link[rel=icon]"));
      document.title = next.title;
      since = null;
      lost.hidden = true;
    } catch {
      since ??= new Date();
      lost.textContent = "This page has not been refreshed since " + since.toLocaleTimeString() + "; its content is older.";
      lost.hidden = false;
    }
  }

  setInterval(refresh, every);
  document.addEventListener("visibilitychange", refresh);
})();
