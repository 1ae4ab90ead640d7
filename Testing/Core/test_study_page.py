"""The page of a study: whole, offline, every table and figure, the checklists, nobody's identity."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from fake_study import NOTE, fake_cohort, make_fake_study
from PIL import Image
from statsmodels.stats.multitest import multipletests
from study_numbers import csv_rows
from test_house import ROOT

from MolSubCore import DISCLAIMER
from MolSubCore.files import read_json
from MolSubCore.report.checklists import checklists
from MolSubCore.report.page import chance_text
from MolSubCore.study.page.published import published
from MolSubCore.study.page.report import main_runs, write_report
from MolSubCore.study.page.subgroups import subgroup_results, subgroups_tables
from MolSubCore.study.page.text import data_facts, limitations
from MolSubCore.study.results import read_study

MODELS = ("densenet121-cbam", "densenet121", "mob-cbam")
TASKS = ("luminal", "tn", "her2", "subtype5")
TABLES = ("supplementary-1", "table-1", "table-1a", "table-1b", "interval", "table-2", "table-3", "models", "views",
          "precision", "fusions", "faithfulness", "supplementary-3", "supplementary-4", "calibration", "thresholds",
          "cross-tabulation", "decision-curve", *(f"subgroups-{task}" for task in TASKS))  # fmt: skip
FIGURES = ("supplementary-1-flow", "figure-2", "figure-3", "confusion", "figure-4", "supplementary-5-tn",
           "supplementary-5-luminal", "supplementary-5-her2", "supplementary-3-forest", "supplementary-4-forest",
           "reliability", "decision-curve-figure", *(f"failures-{task}" for task in TASKS),
           *(f"subgroups-{task}-figure" for task in TASKS))  # fmt: skip
VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """A page's ids, links, resources and text; `open` holds tags that were never closed."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.resources: list[str] = []
        self.scripts = 0
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(file.read_text(encoding="utf-8"))
        self.text = " ".join(" ".join(self.words).replace("\u2060", "").replace("\u2011", "-").split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.ids += [found["id"] or ""] if "id" in found else []
        self.links += [found["href"] or ""] if tag == "a" else []
        self.resources += [found[name] or "" for name in ("src", "data", "srcset") if name in found]
        self.resources += [found.get("href") or ""] if tag == "link" else []
        self.scripts += tag == "script"
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, self.getpos()

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.words.append(data)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("page")
    make_fake_study(place, models=MODELS, fusions={"densenet121-cbam": ("clinical",)}, folds=2, resamples=10)
    write_report(read_study(place))
    return place


@pytest.fixture(scope="module")
def page(folder: Path) -> Page:
    return Page(folder / "study.html")


def test_the_page_is_whole_and_offline(folder: Path, page: Page) -> None:
    assert not page.open
    assert len(page.ids) == len(set(page.ids))
    assert not [link for link in page.links if not link.startswith("#") or link[1:] not in page.ids]
    assert not [uri for uri in page.resources if not uri.startswith("data:image/")]
    assert page.scripts == 0
    style = (folder / "study.html").read_text(encoding="utf-8").partition("<style>")[2].partition("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style
    assert len(page.resources) == len(FIGURES)
    assert DISCLAIMER in page.text


def test_every_table_and_figure_is_there(folder: Path, page: Page) -> None:
    assert {*TABLES, *FIGURES} <= set(page.ids)
    assert "Not made" not in page.text
    results = folder / "results"
    assert {file.name for file in results.iterdir() if not file.name.startswith(".")} == {
        *(f"{key}.csv" for key in TABLES), *(f"{key}{kind}" for key in FIGURES for kind in (".png", ".svg"))
    }  # fmt: skip
    for key in FIGURES:
        with Image.open(results / f"{key}.png") as picture:
            assert min(picture.size) > 400
            assert np.ptp(np.asarray(picture.convert("L"))) > 200  # something is drawn on it
        assert "<svg" in (results / f"{key}.svg").read_text(encoding="utf-8")[:2000]


def test_it_says_what_clinical_columns_tell_the_subtype(folder: Path, page: Page) -> None:
    why = "the subtype is defined by it (its name has 'her2')"
    assert "--i-know" not in page.text
    results = read_study(folder)
    results.study["clinical_i_know"] = {"her2_ihc": why}
    assert ("Clinical columns that tell the subtype", f"her2_ihc: {why}") in data_facts(results)
    assert any(f"(--i-know): her2_ihc: {why}" in line for line in limitations(results))


def test_subgroups_are_tested_together_and_a_study_of_before_says_that_it_has_none(folder: Path, page: Page) -> None:
    """All patients of the test set are in one level of each attribute; p-values are Holm's over all tasks."""
    files = [folder / "results" / f"subgroups-{task}.csv" for task in TASKS]
    rows = [row for file in files for row in csv_rows(file)]
    assert {row["attribute"] for row in rows} == {"view", "vendor", "age", "lesion size"}
    for attribute in ("vendor", "age", "lesion size"):
        assert sum(int(row["patients"]) for row in rows if row["attribute"] == attribute) == 4 * 78
    made = {(row["test p"], row["test p adjusted"]) for row in rows if row["test p"]}
    expected = multipletests([float(p) for p, _ in sorted(made)], method="holm")[1]
    assert [float(p) for _, p in sorted(made)] == pytest.approx(expected)
    assert f"the {len(made)} tests of all tasks on this page" in page.text
    assert any("ethnicity" in line for line in limitations(read_study(folder)))
    old = replace(read_study(folder), levels=None)
    (table,) = subgroups_tables(old, subgroup_results(old, main_runs(old)))
    assert "start molsub study again with the same options" in table.why
    assert any(line.startswith("Age and other groups were not looked at") for line in limitations(old))


def test_table_1_says_what_is_missing_in_it(page: Page) -> None:
    assert page.text.count("Missing is a blank cell, or one that says na, n/a, ") == 3
    assert "anything else is a value, also none and - and +" in page.text


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ((4, 3), "Too few patients"),
        ((5, 3), "Better than chance"),
        ((0, 9), "One class"),
        ((1, 2, 3), "Better than chance"),
        ((1, 2), "Too few patients"),
    ],
)
def test_nothing_is_better_than_chance_where_no_ranking_could_be(counts: tuple[int, ...], said: str) -> None:
    """Of three and four patients a perfect ranking has an exact p of 2 / 35."""
    metric = {"value": 1.0 if min(counts) else None, "low": 0.55, "high": 1.0}
    assert chance_text(metric, dict(zip(map(str, counts), counts, strict=True))).startswith(said)


def test_the_order_is_the_papers(page: Page) -> None:
    order = ("summary", "participants", "supplementary-1-flow", "table-1", "methods", "table-2", "figure-2", "table-3",
             "figure-3", "figure-4", "supplementary-5-tn", "supplementary-3", "supplementary-4", "calibration",
             "thresholds", "limitations", "checklist-tripod", "checklist-claim",
             "checklist-stard")  # fmt: skip
    places = [page.ids.index(name) for name in order]
    assert places == sorted(places)


def test_what_is_to_be_reviewed_of_the_cohort_stands_at_the_top(page: Page) -> None:
    assert page.text.index("Read before use") < page.text.index(NOTE) < page.text.index("Flow of patients")


def test_it_says_synthetic_and_that_the_papers_numbers_are_of_another_cohort(page: Page) -> None:
    assert "SYNTHETIC COHORT" in page.text
    assert "jobs finished" not in page.text
    assert page.text.count("Published, another cohort") == 2  # above the columns of Tables 2 and 3
    for value in ("0.7592", "0.6679", "0.6584", "0.6494", "0.6979 ± 0.0416"):
        assert value in page.text.replace("\xa0", " ")
    assert "in effect HER2-negative" in page.text


def test_checklists_are_complete_and_point_into_the_page(page: Page) -> None:
    content = read_json(ROOT / "MolSubCore" / "report" / "checklists.json")
    tripod, claim, stard = ([item["number"] for item in content[key]["items"]] for key in ("tripod", "claim", "stard"))
    assert sorted({int(re.sub(r"\D", "", number)) for number in tripod}) == list(range(1, 28))
    # The sub-items of Collins et al. 2024.
    letters = {"3": "abc", "5": "ab", "6": "abc", "8": "abc", "9": "abc", "12": "abcdefg", "18": "abcdef",
               "20": "abc", "23": "ab", "27": "abc"}  # fmt: skip
    assert tripod == [f"{n}{letter}" for n in range(1, 28) for letter in letters.get(str(n), [""])]
    assert claim == [str(n) for n in range(1, 45)]
    assert stard == [f"{n}{letter}" for n in range(1, 31) for letter in ("ab" if n in (10, 12, 13, 21) else [""])]
    for entry in content.values():
        for item in entry["items"]:
            assert item["where"] or item["lacks"], item
            assert set(item["where"]) <= set(page.ids), item
    for needs_authors in (
        "ethical approval and consent",
        "funding and the role of funders",
        "start and end of accrual",
    ):
        assert f"missing: {needs_authors}" in page.text


def test_an_item_is_answered_only_where_the_page_answers_it_whole(page: Page) -> None:
    """And the interval to the biopsy only where the table has dates."""
    titles = {name: name for name in page.ids if name}
    without = {name: title for name, title in titles.items() if name != "interval"}
    for present, status in ((titles, "in part"), (without, "missing")):
        found = {one.key: {answer.number: answer for answer in one.answers} for one in checklists(present, titles)}
        assert found["stard"]["22"].status == status
        assert ("not made: interval" in found["stard"]["22"].lacks) == (status == "missing")
        assert {found["stard"][number].status for number in ("14", "16", "17", "23", "24")} == {"answered"}
        assert found["claim"]["14"].status == found["tripod"]["8a"].status == found["tripod"]["10"].status == "in part"
        assert found["claim"]["31"].status == "answered"
        for one in (answer for answers in found.values() for answer in answers.values()):
            assert (one.status == "answered") == (bool(one.places) and not one.lacks)


def test_nothing_identifies_a_patient_or_a_machine(folder: Path) -> None:
    found = fake_cohort(folds=2)
    names = {case.patient_id for case in found.cohort.cases}
    secrets = [*names, *set(found.study_id.tolist()), str(folder), str(ROOT)]
    for file in (folder / "study.html", *folder.glob("results/*.csv"), *folder.glob("results/*.svg")):
        # Pictures are base64: what is in them is in the svg files, as text or paths.
        text = re.sub(r"base64,[A-Za-z0-9+/=\s]+", "", file.read_text(encoding="utf-8"))
        for secret in secrets:
            assert secret not in text, (file.name, secret)


def paper_text() -> str:
    file = ROOT.parent / "shared" / "paper.txt"
    if not file.is_file():
        pytest.skip("no paper.txt in ../shared")
    return file.read_text(encoding="utf-8")


def printed(text: str, number: int) -> dict[str, list[list[float]]]:
    """Rows of a printed table: label, then numbers of each cell."""
    start, end = re.search(rf"Table\s{number}\s\|", text), "95% confidence intervals"
    assert start
    lines = [line.strip() for line in text[start.end() :].partition(end)[0].splitlines() if line.strip()]
    rows: dict[str, list[list[float]]] = {}
    label = ""
    for line in lines:
        numbers = [float(value) for value in re.findall(r"\d+\.\d+", line)]
        if match := re.match(r"(AUC|ACC|SENS|SPEC|PPV|NPV)\b", line):
            label = match.group(1)
            rows[label] = []
        elif numbers:
            rows[label].append(numbers)
    return rows


NAMES = {"AUC": "auc", "ACC": "accuracy", "SENS": "sensitivity", "SPEC": "specificity", "PPV": "ppv", "NPV": "npv"}


def test_published_numbers_are_the_papers() -> None:
    text = paper_text()
    second = printed(text, 2)
    third = printed(text, 3)
    assert set(second) == set(third) == set(NAMES)
    places = {"luminal": (second, 0), "tn": (third, 0), "her2": (third, 2), "subtype5": (third, 4)}
    for task, (table, start) in places.items():
        for label, name in NAMES.items():
            for offset, part in enumerate(("validation", "test")):
                entry = published()["tasks"][task][part][name]
                assert list(entry.values()) == table[label][start + offset], (task, label, part)
    means = re.findall(r"(0\.\d{4})\s±\s(0\.\d{4})", text)
    ours = [(published()["tasks"][task]["mean_auc"], published()["tasks"][task]["sd_auc"]) for task in places]
    assert [(float(mean), float(sd)) for mean, sd in means] == ours
    assert "with AUC values of 0.78 and 0.72, respectively" in " ".join(text.split())
    assert published()["tasks"]["subtype5"]["class_auc"] == {"HER2+/HR-": 0.78, "TN": 0.72}


@pytest.mark.parametrize(("task", "share"), [("luminal", 261 / 762), ("tn", 104 / 762), ("her2", 605 / 762)])
def test_what_is_said_about_the_papers_positive_classes(task: str, share: float) -> None:
    """Bayes' rule gives the prevalence of the printed positive class: it is that of the class that is named."""
    entry = published()["tasks"][task]
    for part in ("validation", "test"):
        sensitivity, specificity, ppv, npv = (
            entry[part][name]["value"] for name in ("sensitivity", "specificity", "ppv", "npv")
        )
        from_ppv = ppv * (1 - specificity) / (sensitivity * (1 - ppv) + ppv * (1 - specificity))
        from_npv = specificity * (1 - npv) / (specificity * (1 - npv) + npv * (1 - sensitivity))
        assert from_ppv == pytest.approx(share, abs=0.04)
        assert from_npv == pytest.approx(share, abs=0.04)
        assert abs(from_ppv - (1 - share)) > 0.25
