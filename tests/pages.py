"""The explorer in a real browser: its server as a process of its own, and the system's Chromium."""

import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager

CHROMIUM = "chromium", "chromium-browser", "google-chrome", "google-chrome-stable"
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
START, ANSWER = 120_000, 30_000
"""Milliseconds that a page may take to be drawn first, with compilation, and later."""


def chromium():
    """The path of the system's Chromium, or None."""
    return next(filter(None, map(shutil.which, CHROMIUM)), None)


@contextmanager
def served():
    """The address of an explorer that runs as `nqm-fast explore` until the context ends."""
    command = [sys.executable, "-m", "nqm_fast", "explore", "--no-browser", "--port", "0"]
    environment = os.environ | {"NQM_NUM_THREADS": os.environ.get("NQM_NUM_THREADS", "2")}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        line = process.stdout.readline()
        yield re.search(r"http://127\.0\.0\.1:\d+/", line).group()
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(20)
        process.stdout.close()


@contextmanager
def browser():
    """A headless Chromium with a profile of its own, driven by Playwright."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=chromium(), args=FLAGS)
        yield started
        started.close()


def data(page, name):
    """The columns of a source of data on a page, as lists; null is what JSON has for NaN."""
    return page.evaluate(
        """(name) => {
          const source = Bokeh.documents[0].get_model_by_name(name)
          const columns = source.data instanceof Map ? source.data : Object.entries(source.data)
          return Object.fromEntries([...columns].map(([key, column]) => [key, Array.from(column)]))
        }""",
        name,
    )


def wait_for_picture(page, limit=START):
    """Wait until a page says what it has computed."""
    page.wait_for_function(
        """() => {
          const find = (root) => {
            const found = root.querySelector("[role=status]")
            if (found) { return found }
            for (const one of root.querySelectorAll("*")) {
              const inner = one.shadowRoot && find(one.shadowRoot)
              if (inner) { return inner }
            }
            return null
          }
          const line = find(document)
          return line && line.textContent && !line.textContent.startsWith("Compiling")
        }""",
        timeout=limit,
    )


def scrolls_sideways(page):
    """Elements that can be scrolled sideways, as texts, and those that stick out of the window."""
    return page.evaluate(
        """() => {
          const found = []
          const look = (root) => {
            for (const one of root.querySelectorAll("*")) {
              const style = getComputedStyle(one)
              const may = ["auto", "scroll"].includes(style.overflowX)
              if (may && one.scrollWidth > one.clientWidth + 1 && one.clientWidth > 0) {
                found.push(`${one.tagName} ${one.className} ${one.scrollWidth} ${one.clientWidth}`)
              }
              const box = one.getBoundingClientRect()
              const is_seen = box.width > 0 && !one.classList.contains("bk-GlyphRenderer")
              if (is_seen && (box.right > innerWidth + 1 || box.left < -1)) {
                found.push(`${one.tagName} ${one.className} ${box.left} ${box.right}`)
              }
              if (one.shadowRoot) { look(one.shadowRoot) }
            }
          }
          look(document)
          return found
        }"""
    )


def drawn_canvases(page):
    """How many canvases of figures there are that something is drawn on."""
    return page.evaluate(
        """async () => {
          await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))
          const found = []
          const look = (root) => {
            for (const one of root.querySelectorAll("*")) {
              if (one.tagName === "CANVAS" && one.width > 100 && one.height > 100) {
                const {data} = one.getContext("2d").getImageData(0, 0, one.width, one.height)
                const colors = new Set(new Uint32Array(data.buffer))
                if (colors.size > 20) { found.push(one) }
              }
              if (one.shadowRoot) { look(one.shadowRoot) }
            }
          }
          look(document)
          return found.length
        }"""
    )
