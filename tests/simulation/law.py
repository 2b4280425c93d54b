"""What is raised where a law does not hold."""


class LawBroken(AssertionError):
    """`law` is its short name; `subject`: the trade that shows it, if it is one;
    `seed`: the one that was played."""

    def __init__(self, law: str, detail: str, subject: bytes | None = None) -> None:
        super().__init__(f"{law}: {detail}")
        self.law = law
        self.subject = subject
        self.seed = 0
