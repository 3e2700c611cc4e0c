"""Write the dashboards into the chart: ``make dashboards``."""

from dashboards.panels import FOLDER, files

FOLDER.mkdir(exist_ok=True)
wanted = files()
for path in set(FOLDER.glob("*.json")) - wanted.keys():
    path.unlink()
for path, text in wanted.items():
    path.write_text(text)
