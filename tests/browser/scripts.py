"""Scripts that the tests run in a page."""

WIDTH = """() => {
  const most = document.documentElement.clientWidth;
  const over = [...document.querySelectorAll('body *')].filter(each => {
    const box = each.getBoundingClientRect();
    return box.width && box.right > most + 1 && !each.closest('.scroll, .unseen, .skip, svg');
  }).map(each => each.outerHTML.slice(0, 120)).slice(0, 5);
  return [document.documentElement.scrollWidth, over];
}"""
"""How wide the page is, and what sticks out."""
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
"""All that the checker knows of the standards, and what is good practice."""
AXE = """async (which) => {
  const found = await axe.run(document, {resultTypes: ['violations'], runOnly: which});
  const tell = node => [node.html.slice(0, 200), ...node.any.map(each => each.message)].join('; ');
  return found.violations.map(each => [each.id, each.help, ...each.nodes.slice(0, 4).map(tell)].join(': '));
}"""
"""What the accessibility checker finds."""
_USABLE = "a[href], button, input:not([type=hidden]), select, textarea, summary"
MARK = f"""() => {{
  for (const each of document.querySelectorAll('{_USABLE}'))
    if (each.checkVisibility() && !each.disabled && each.tabIndex >= 0 && !each.closest('.skip')
        && !(each.type === 'radio' && !each.checked)) each.dataset.wanted = '1';
}}"""
"""Remembers what Tab must reach; of radio buttons that is one, arrows lead to the others."""
FOCUS = """() => {
  const here = document.activeElement;
  delete here.dataset.wanted;
  const left = document.querySelectorAll('[data-wanted]').length;
  if (here === document.body) return [left, 'none'];
  const box = here.getBoundingClientRect();
  if (!box.width || !box.height) return [left, 'hidden'];
  if (/date|time|month|week/.test(here.type)) return [left, 'marked'];  // Chromium marks the part inside
  const style = getComputedStyle(here);
  const outlined = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0;
  return [left, outlined || style.boxShadow !== 'none' ? 'marked' : 'unmarked'];
}"""
"""How many are left, and whether one can see where the focus is."""
WHERE = "() => document.activeElement.outerHTML.slice(0, 200)"
MISSED = "() => [...document.querySelectorAll('[data-wanted]')].map(each => each.outerHTML.slice(0, 150))"
TEXTS = """() => {
  const found = new Set();
  const data = 'script, style, code, .mono, [translate=no], [lang=en], [data-plain]';
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const text = walk.currentNode.textContent.replace(/\\s+/g, ' ').trim();
    if (text && !walk.currentNode.parentElement.closest(data)) found.add(text);
  }
  for (const name of ['title', 'placeholder', 'aria-label', 'alt'])
    for (const each of document.querySelectorAll(`[${name}]`))
      if (each.getAttribute(name).trim() && !each.closest(data)) found.add(each.getAttribute(name).trim());
  found.add(document.title.split(' · ')[0]);
  return [...found];
}"""
"""All that a page says, piece by piece, but for what is data."""
