"""How plans look."""

from flash_cli.deploys.plan_text import lines
from flash_cli.deploys.planning import About, Change, ChangeKind, Difference, Plan


def test_each_kind_has_its_line_and_what_differs_stands_below() -> None:
    found = Plan(
        (
            Change("new", ChangeKind.CREATE),
            Change(
                "infer",
                ChangeKind.ROLL,
                (
                    Difference(About.CONFIG, "gpu.count", 1, 4),
                    Difference(About.CONFIG, "env.NEW", None, "…"),
                    Difference(About.CONFIG, "env.TOKEN", "…", "…"),
                    Difference(About.CONFIG, "env.OLD", "…", None),
                    Difference(About.PACKAGE, "numpy", "2.1", None),
                    Difference(About.CODE, "a.py", None, "1"),
                    Difference(About.CODE, "b.py", "1", "2"),
                    Difference(About.CODE, "c.py", "1", None),
                ),
            ),
            Change("small", ChangeKind.UPDATE, (Difference(About.CONFIG, "workers.max", 1, 3),)),
            Change("gone", ChangeKind.LEFT),
        )
    )
    assert list(lines(found)) == [
        "  + create  new",
        "  * roll    infer  new workers take the place of the old ones",
        "      gpu.count: 1 -> 4",
        "      variable NEW is set",
        "      variable TOKEN changes",
        "      variable OLD is taken away",
        "      numpy: 2.1 -> none",
        "      a.py is new",
        "      b.py is changed",
        "      c.py is gone",
        "  ~ change  small  in place",
        "      workers.max: 1 -> 3",
        "  ? left    gone   is not in the code any more and stays; --prune removes it",
    ]


def test_many_differences_are_counted() -> None:
    many = tuple(Difference(About.CODE, f"{number}.py", "1", "2") for number in range(20))
    shown = list(lines(Plan((Change("infer", ChangeKind.ROLL, many),))))
    assert shown[-1] == "      … and 8 more; --json shows all"
    assert len(shown) == 14
