// Long names in narrow places may break where their parts meet, not anywhere.
for (const code of document.querySelectorAll("td code, .sd-card code, h1")) {
  const walker = document.createTreeWalker(code, NodeFilter.SHOW_TEXT);
  const texts = [];
  while (walker.nextNode()) texts.push(walker.currentNode);
  for (const text of texts) {
    const parts = text.data.split(/(?<=[.(,=])/).flatMap((part, i) =>
      i ? [document.createElement("wbr"), part] : [part],
    );
    text.replaceWith(...parts);
  }
}
