// A click on the head of a column sorts the methods by it; the single-task models stay.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  const body = table.tBodies[table.tBodies.length - 1];
  const value = (row, column) => {
    const cell = row.cells[column];
    const name = cell.querySelector("bdi");
    return name ? name.textContent : parseFloat(cell.dataset.value);
  };
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
      const rows = [...body.rows].map((row) => [value(row, column), row]);
      // What has no number stays last, in either direction.
      const known = rows.filter(([found]) => !Number.isNaN(found));
      const unknown = rows.filter(([found]) => Number.isNaN(found));
      known.sort(([a], [b]) => sign * (a > b ? 1 : a < b ? -1 : 0));
      body.append(...[...known, ...unknown].map(([, row]) => row));
    });
  });
}
