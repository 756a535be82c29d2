"""A page in a real browser, Qt's Chromium, without a screen.

    python browser.py URL WIDTH STEPS.json

STEPS: [[condition, action], ...], both JavaScript. Each condition is waited for, then its action is done. A
last line on stdout is {"value": the last action's, "console": what the page said, "width": of its contents}.
PyQt6-WebEngine is needed; no requirement of the package.
"""
import json
import os
import sys
from pathlib import Path

os.environ["QT_QPA_PLATFORM"] = "offscreen"
os.environ["QTWEBENGINE_CHROMIUM_FLAGS"] = "--no-sandbox --disable-gpu"

from PyQt6.QtCore import QTimer, QUrl
from PyQt6.QtWebEngineCore import QWebEnginePage
from PyQt6.QtWebEngineWidgets import QWebEngineView
from PyQt6.QtWidgets import QApplication

POLL, PATIENCE = 100, 60_000  # milliseconds: between two looks, and for all steps together


class Page(QWebEnginePage):
    console: list[str] = []

    def javaScriptConsoleMessage(self, level, message, line, source):
        self.console.append(message)


def main(url, width, steps):
    app = QApplication(sys.argv)
    view = QWebEngineView()
    view.setPage(Page(view))
    view.resize(width, 800)
    view.show()
    left = list(steps)

    def look():
        view.page().runJavaScript(f"Boolean({left[0][0]})", act)

    def act(holds):
        if not holds:
            QTimer.singleShot(POLL, look)
            return
        _, action = left.pop(0)
        code = f"JSON.stringify([(() => {{ return {action} }})(), document.documentElement.scrollWidth])"
        view.page().runJavaScript(code, tell if not left else lambda _: QTimer.singleShot(POLL, look))

    def tell(found):
        value, contents = json.loads(found)
        print(json.dumps({"value": value, "console": Page.console, "width": contents}), flush=True)
        app.quit()

    view.loadFinished.connect(lambda _: look())
    QTimer.singleShot(PATIENCE, lambda: (print(f"never: {left[:1]}", file=sys.stderr), app.exit(1)))
    view.load(QUrl(url))
    return app.exec()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), json.loads(Path(sys.argv[3]).read_text())))
