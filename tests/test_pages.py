"""Pages that are made from committed numbers say what those numbers say."""

import json
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def test_the_page_of_precisions_is_the_one_that_the_committed_measurement_makes() -> None:
    make_page = runpy.run_path(str(ROOT / "bench" / "edge_page.py"))["page"]
    result = json.loads((ROOT / "bench" / "results" / "edge.json").read_text())
    assert make_page(result) == (ROOT / "docs" / "edge.md").read_text()


def test_the_cost_of_exact_normals_is_the_committed_measurements_and_the_predictions_count_with_it() -> None:
    pytest.importorskip("triton")
    from bench.normals import RESULTS, table
    from bench.predicted import NORMAL

    document = json.loads(RESULTS.read_text())
    page = (ROOT / "docs" / "performance.md").read_text()
    assert table(document) == page.partition("<!-- normals -->\n")[2].partition("<!-- end of normals -->")[0]
    assert {round(forms["exact"]["instructions"]) for forms in document["card"].values()} == {NORMAL}


def test_the_page_of_arrivals_is_the_one_that_the_committed_measurement_makes() -> None:
    maker = runpy.run_path(str(ROOT / "bench" / "arrivals_page.py"))
    assert maker["page"](json.loads(maker["RESULTS"].read_text())) == maker["PAGE"].read_text()


def test_the_page_of_benchmarks_is_the_one_that_the_committed_results_make() -> None:
    maker = runpy.run_path(str(ROOT / "bench" / "benchmarks_page.py"))
    page = maker["page"](*(maker["read"](maker[name]) for name in ("RESULTS", "PEERS")))
    assert page == (ROOT / "docs" / "benchmarks.md").read_text()
    for picture in ("dreams", "inference", "tasks"):
        assert (maker["RESULTS"].parent / f"{picture}.png").exists()


def test_the_page_of_photos_is_the_one_that_the_committed_results_make() -> None:
    maker = runpy.run_path(str(ROOT / "bench" / "photos_page.py"))
    assert maker["page"](*maker["read"]()) == (ROOT / "docs" / "photos.md").read_text()
    assert maker["PICTURE"].exists()


def test_the_page_of_results_and_the_tables_in_the_readme_are_those_that_the_committed_runs_make() -> None:
    maker = runpy.run_path(str(ROOT / "bench" / "results_page.py"))
    for path, text in maker["documents"]().items():
        assert text == path.read_text(), path.name


def test_the_tables_of_devices_are_those_that_the_committed_measurements_make() -> None:
    maker = runpy.run_path(str(ROOT / "bench" / "device_page.py"))
    for path, text in maker["documents"]().items():
        assert text == path.read_text(), path.name


def test_the_page_of_texts_is_the_one_that_the_committed_measurement_makes() -> None:
    maker = runpy.run_path(str(ROOT / "bench" / "text_page.py"))
    assert maker["page"](json.loads(maker["RESULTS"].read_text())) == (ROOT / "docs" / "text.md").read_text()
