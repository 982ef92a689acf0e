"""Whatever goes wrong: nothing is there twice, nothing is lost, and what is said is what the server's ledger says.

The scenarios and the oracle are the benchmark's, which runs them at full size.
"""

from __future__ import annotations

import pytest

from tests.chaos.provision_faults import PROMISES, Scenario, Way, run_scenario, scenarios

SCENARIOS = scenarios()
WAYS = [(journal, references) for journal in (False, True) for references in (False, True)]


def widest() -> list[Scenario]:
    """Of each fault the scenario in which it strikes in most places."""
    by_kind: dict[str, Scenario] = {}
    for scenario in SCENARIOS:
        kind, _, where = scenario.name.partition(" on ")
        if where:
            by_kind[kind] = scenario
    return list(by_kind.values())


def promised(scenario: Scenario, way: Way) -> None:
    verdict = run_scenario(scenario, way)
    assert {name: getattr(verdict, name) for name in PROMISES} == dict.fromkeys(PROMISES, 0), verdict.notes


def named(name: str) -> Scenario:
    return next(scenario for scenario in SCENARIOS if scenario.name == name)


class TestEachFault:
    # Journal and references take turns, so that every fault meets some of both; the benchmark has all ways of all.
    @pytest.mark.parametrize(
        ("scenario", "way"),
        [
            pytest.param(scenario, Way(records=90, journal=journal, references=references), id=scenario.name)
            for number, scenario in enumerate(widest())
            for journal, references in [WAYS[number % 4]]
        ],
    )
    def test_alone(self, scenario, way):
        promised(scenario, way)

    @pytest.mark.parametrize(("journal", "references"), WAYS)
    def test_all_mixed(self, journal, references):
        promised(named("all mixed but the fatal"), Way(records=90, seed=7, journal=journal, references=references))

    @pytest.mark.parametrize("journal", [False, True])
    def test_all_mixed_and_started_again_where_it_was_fatal(self, journal):
        promised(named("all mixed"), Way(records=90, seed=2, journal=journal))


class TestLate:
    @pytest.mark.parametrize("journal", [False, True])
    def test_after_settle_is_named_and_nothing_else_is(self, journal):
        scenario = named("late_apply after settle")
        verdict = run_scenario(scenario, Way(records=90, seed=3, journal=journal))
        assert verdict.counts["duplicated"] > 2
        assert {name: getattr(verdict, name) for name in PROMISES} == dict.fromkeys(PROMISES, 0), verdict.notes
