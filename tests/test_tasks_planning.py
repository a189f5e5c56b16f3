"""Planning: what is scored tonight, by which adapter, in which shard."""

import hashlib
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks import planning
from tasks.planning import Plan, Selection
from tasks.tracking import RegisteredAdapter
from warehouse import db, parts, runs, schema, scores

NOW = datetime(2026, 3, 12, 20, tzinfo=UTC)
DAY = date(2026, 3, 12)
TONIGHT = Selection()
BACKFILL = Selection(rescore=True)
ENGINE = "fp32 gradeline-0.1.0 512 tokens"


def adapter(item_id: str, version: int = 1, trait: str = "overall") -> RegisteredAdapter:
    sha256 = hashlib.sha256(f"{item_id} {trait} {version}".encode()).hexdigest()
    return RegisteredAdapter(item_id, trait, version, sha256, "data", "recipe", "backbone", "")


class Bench:
    """A warehouse with items ``a``, ``b`` and ``c``, and a run that has begun."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.warehouse = folder / "warehouse.duckdb"
        with db.connect(self.warehouse) as connection:
            for item_id, trait in (
                ("a", "overall"),
                ("b", "ideas"),
                ("b", "form"),
                ("c", "overall"),
            ):
                connection.execute(
                    "INSERT INTO items (item_id, trait, score_min, score_max, added_at) "
                    "VALUES (?, ?, 0, 2, ?)",
                    [item_id, trait, NOW],
                )
        self.begin()

    def begin(self) -> None:
        with db.connect(self.warehouse) as connection:
            self.run_id = runs.start_run(connection, "nightly", DAY, {"at": str(datetime.now())})

    def respond(
        self,
        item_id: str,
        *ids: str,
        season: str = "s1",
        blank: bool = False,
        text: str | None = None,
        known: float | None = None,
    ) -> None:
        """Ingest responses; each has a text of its own, or all of them ``text``.

        With a ``known`` score, which counts for every trait, they are validity responses.
        """
        purpose = "operational" if known is None else "validity"
        export = hashlib.sha256(f"{item_id} {ids}".encode()).hexdigest()
        n = len(ids)
        with db.connect(self.warehouse) as connection:
            connection.execute(
                "INSERT INTO exports VALUES (?, ?, 'f.csv', '{}', ?, ?, 0, 0, 0, ?)",
                [export, self.run_id, n, n, NOW],
            )
            for response_id in ids:
                connection.execute(
                    "INSERT INTO responses (response_id, item_id, season, submitted_at, "
                    "text_sha256, characters, export_sha256, ingested_at, purpose) "
                    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    [response_id, item_id, season, NOW, text_sha256(text or response_id),
                     0 if blank else 4, export, NOW, purpose],
                )  # fmt: skip
            if known is not None:
                connection.execute(
                    "INSERT INTO human_scores SELECT response_id, item_id, trait, 1, ?, ?, ? "
                    "FROM responses JOIN items USING (item_id) WHERE export_sha256 = ?",
                    [known, export, NOW, export],
                )

    def plan(
        self,
        *adapters: RegisteredAdapter,
        selection: Selection = TONIGHT,
        engine: str = ENGINE,
        backbone_sha256: str = "backbone",
    ) -> Plan:
        return planning.plan_scoring.fn(
            self.warehouse, self.folder, self.run_id, adapters, selection,
            backbone_sha256=backbone_sha256, engine=engine,
        )  # fmt: skip

    def commit(self, plan: Plan, skip: str | None = None) -> tuple[str, runs.RunCounts]:
        """Write a part per shard, leaving out one response if told to, and commit."""
        for shard in plan.shards:
            rows = pq.read_table(plan.path, filters=[("shard", "=", shard.name)]).to_pylist()
            kept = [row for row in rows if row["response_id"] != skip]
            parts.write(planning.part_path(plan.path, shard), part(kept, shard.engine))
        paths = [planning.part_path(plan.path, shard) for shard in plan.shards]
        cost = scores.RunCost(1, 1.0, 1.0)
        with db.connect(self.warehouse) as connection:
            return scores.commit(
                connection, self.run_id, plan.path, paths,
                cost=cost, files=scores.Files(), reasons=(),
            )  # fmt: skip

    def ledger(self) -> list[tuple[str, str, str, int]]:
        with db.connect(self.warehouse) as connection:
            return connection.execute(
                "SELECT response_id, trait, status, adapter_version FROM current_scores "
                "ORDER BY ALL"
            ).fetchall()


def text_sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def part(rows: list[dict[str, object]], engine: str = ENGINE) -> pa.Table:
    """A part as scoring writes it; each response has a raw score of its own."""
    return pa.Table.from_pylist(
        [
            {
                "response_id": row["response_id"],
                "item_id": row["item_id"],
                "trait": row["trait"],
                "raw_score": 1.2 + int(text_sha256(str(row["response_id"]))[:6], 16) / 2**26,
                "score": 1,
                "confidence": 0.8,
                "probabilities": [0.1, 0.8, 0.1],
                "by_student": False,
                "truncated": False,
                "trimmed_score": 1.3,
                "scaled_score": 1.6 if row["reported"] == "scaled" else None,
                "reported": row["reported"],
                "tokens": 7,
                "unknown_tokens": 2,
                "language": "en",
                "adapter_version": row["adapter_version"],
                "adapter_sha256": row["adapter_sha256"],
                "backbone_sha256": "backbone",
                "engine": engine,
                "latency_ms": 1.0,
            }
            for row in rows
        ],
        schema=schema.PARTS,
    )


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_each_adapter_is_in_one_shard(bench: Bench) -> None:
    bench.respond("a", "a1", "a2")
    bench.respond("b", "b1")
    plan = bench.plan(adapter("a"), adapter("b", trait="ideas"), adapter("b", trait="form"))
    assert (len(plan.shards), plan.rows, plan.responses) == (1, 4, 3)
    assert [(unit.item_id, unit.trait) for unit in plan.shards[0].units] == [
        ("a", "overall"), ("b", "form"), ("b", "ideas")
    ]  # fmt: skip


def test_a_huge_item_is_split_and_others_are_not(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "SHARD_ROWS", 3)
    monkeypatch.setattr(planning, "SPLIT_ROWS", 5)
    bench.respond("a", *(f"a{n}" for n in range(5)))
    bench.respond("c", *(f"c{n}" for n in range(7)))
    plan = bench.plan(adapter("a"), adapter("c"))
    assert [(shard.rows, [unit.item_id for unit in shard.units]) for shard in plan.shards] == [
        (5, ["a"]), (3, ["c"]), (3, ["c"]), (1, ["c"])
    ]  # fmt: skip


def test_shards_are_named_by_their_content(bench: Bench) -> None:
    bench.respond("a", "a1")
    first = bench.plan(adapter("a")).shards
    assert bench.plan(adapter("a")).shards == first
    assert bench.plan(adapter("a", version=2)).shards[0].name != first[0].name
    bench.respond("a", "a2")
    assert bench.plan(adapter("a")).shards[0].name != first[0].name


def test_commit_accounts_for_every_response(bench: Bench) -> None:
    bench.respond("a", "a1", "a2")
    bench.respond("a", "a3", blank=True)
    bench.respond("b", "b1")
    bench.respond("c", "c1")
    plan = bench.plan(adapter("a"), adapter("b", trait="ideas"), adapter("b", trait="form"))
    status, counts = bench.commit(plan)
    assert status == "done"
    assert (counts.accepted, counts.scored, counts.coded, counts.routed) == (5, 3, 1, 1)
    assert counts.reconciled
    assert bench.ledger() == [
        ("a1", "overall", "scored", 1), ("a2", "overall", "scored", 1),
        ("a3", "overall", "coded", None),
        ("b1", "form", "scored", 1), ("b1", "ideas", "scored", 1),
    ]  # fmt: skip


def test_a_response_with_one_of_two_traits_scored_is_routed(bench: Bench) -> None:
    bench.respond("b", "b1")
    status, counts = bench.commit(bench.plan(adapter("b", trait="ideas")))
    assert (status, counts.routed, counts.scored) == ("done", 1, 0)


def test_a_row_missing_from_its_part_is_a_failure_not_a_score(bench: Bench) -> None:
    bench.respond("a", "a1", "a2")
    status, counts = bench.commit(bench.plan(adapter("a")), skip="a1")
    assert (status, counts.scored, counts.failed) == ("held", 1, 1)
    bench.begin()
    assert bench.plan(adapter("a")).rows == 1  # the next run plans it again


def test_committing_twice_adds_nothing(bench: Bench) -> None:
    bench.respond("a", "a1", "a2")
    plan = bench.plan(adapter("a"))
    bench.commit(plan)
    before = bench.ledger()
    _, counts = bench.commit(plan)
    assert (bench.ledger(), counts.scored) == (before, 2)


def test_nightly_scores_once_and_backfill_rescores_with_another_adapter(bench: Bench) -> None:
    bench.respond("a", "a1")
    bench.commit(bench.plan(adapter("a")))
    assert bench.plan(adapter("a", version=2)).rows == 0
    assert bench.plan(adapter("a"), selection=BACKFILL).rows == 0
    bench.begin()
    bench.commit(bench.plan(adapter("a", version=2), selection=BACKFILL))
    assert bench.ledger() == [("a1", "overall", "scored", 2)]
    bench.begin()  # and back again
    bench.commit(bench.plan(adapter("a"), selection=BACKFILL))
    assert bench.ledger() == [("a1", "overall", "scored", 1)]


def test_a_backfill_in_another_precision_scores_again(bench: Bench) -> None:
    bench.respond("a", "a1")
    bench.respond("b", "b1")
    bench.commit(bench.plan(adapter("a"), adapter("b")))
    assert bench.plan(adapter("a"), engine="fp32 audit").rows == 0  # nightly: once is enough
    audit = bench.plan(adapter("a"), selection=BACKFILL, engine="fp32 audit")
    assert audit.rows == 1  # and an item without an adapter is left as it was
    bench.begin()
    bench.commit(audit)
    assert bench.plan(adapter("a"), selection=BACKFILL, engine="fp32 audit").rows == 0


def test_selection_by_season_item_and_date(bench: Bench) -> None:
    bench.respond("a", "a1", season="s1")
    bench.respond("a", "a2", season="s2")
    bench.respond("c", "c1", season="s1")
    both = (adapter("a"), adapter("c"))
    assert bench.plan(*both, selection=replace(BACKFILL, seasons=("s1",))).rows == 2
    assert bench.plan(*both, selection=replace(BACKFILL, items=("a",))).rows == 2
    assert bench.plan(*both, selection=replace(BACKFILL, from_date=date(2026, 3, 13))).rows == 0
    assert bench.plan(*both, selection=replace(BACKFILL, to_date=DAY)).rows == 3


def test_responses_trained_on_wait_for_a_backfill(bench: Bench) -> None:
    bench.respond("a", "a1", "a2")
    with db.connect(bench.warehouse) as connection:
        connection.execute("INSERT INTO training_rows VALUES ('x', 'a1', 'overall', 'training')")
    bench.begin()
    assert bench.plan(adapter("a")).rows == 1
    assert bench.plan(adapter("a"), selection=BACKFILL).rows == 2


def test_a_night_with_nothing_to_do_is_done(bench: Bench) -> None:
    status, counts = bench.commit(bench.plan(adapter("a")))
    assert (status, counts) == ("done", runs.RunCounts())


def test_a_part_made_before_another_backfill_still_counts_as_the_latest(bench: Bench) -> None:
    bench.respond("a", "a1")
    bench.commit(bench.plan(adapter("a")))
    bench.begin()
    plan = bench.plan(adapter("a", version=2), selection=BACKFILL)
    (shard,) = plan.shards
    old = part(pq.read_table(plan.path).to_pylist())
    bench.begin()  # the run that made this part was killed; another backfill comes first
    bench.commit(bench.plan(adapter("a", version=3), selection=BACKFILL))
    bench.begin()
    again = bench.plan(adapter("a", version=2), selection=BACKFILL)
    assert again.shards == plan.shards
    parts.write(planning.part_path(again.path, shard), old)
    bench.commit(again)
    assert bench.ledger() == [("a1", "overall", "scored", 2)]


def test_parts_of_dead_runs_are_removed_unless_they_are_of_use(bench: Bench) -> None:
    bench.respond("a", "a1")
    plan = bench.plan(adapter("a"))
    mine = planning.part_path(plan.path, plan.shards[0])
    other = mine.with_name("0123456789abcdef.part.parquet")
    parts.write(mine, part([]))
    parts.write(other, part([]))
    bench.begin()
    bench.plan(adapter("a"))
    assert (mine.exists(), other.exists()) == (True, False)


def test_what_reports_another_score_is_scored_by_a_backfill(bench: Bench) -> None:
    bench.respond("a", "a1")
    bench.commit(bench.plan(adapter("a")))
    with db.connect(bench.warehouse) as connection:
        connection.execute("UPDATE items SET reported = 'scaled' WHERE item_id = 'a'")
    bench.begin()
    assert bench.plan(adapter("a")).rows == 0  # nightly: once is enough
    plan = bench.plan(adapter("a"), selection=BACKFILL)
    assert (plan.rows, plan.reused) == (1, 0)  # the rounded score is not copied
    assert [unit.reported for unit in plan.shards[0].units] == ["scaled"]
    bench.commit(plan)
    assert bench.plan(adapter("a"), selection=BACKFILL).rows == 0


def test_a_part_that_reports_another_score_is_not_taken_up(bench: Bench) -> None:
    bench.respond("a", "a1")
    (rounded,) = bench.plan(adapter("a")).shards
    with db.connect(bench.warehouse) as connection:
        connection.execute("UPDATE items SET reported = 'scaled' WHERE item_id = 'a'")
    (scaled,) = bench.plan(adapter("a")).shards
    assert scaled.name != rounded.name


def test_two_adapters_for_one_item_are_refused(bench: Bench) -> None:
    bench.respond("a", "a1")
    with pytest.raises(ValueError, match="scored twice"):
        bench.plan(adapter("a"), adapter("a", version=2))


def test_a_killed_run_is_taken_up_on_its_own_day_only(bench: Bench) -> None:
    with db.connect(bench.warehouse) as connection:
        killed = runs.start_run(connection, "nightly", DAY, {})
        assert runs.start_run(connection, "nightly", DAY, {}) == killed
        later = runs.start_run(connection, "nightly", date(2026, 3, 14), {})
        assert later != killed
        found = connection.execute("SELECT status FROM runs WHERE run_id = ?", [killed])
        assert found.fetchall() == [("failed",)]
