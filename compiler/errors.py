"""CompilerError
ExampleError        a broken example: carries file and line
StoreError          the store can't be opened, read or written
BudgetExceeded      a dollar cap would be passed by the next call
ModelFailed         a background call got no usable answer
    ModelBusy       the upstream said 429: background work stops for a while
    ModelRefused    the model refused or returned nothing
JudgeIsArm          the judge would be one of the two models that it compares
CalibrationFailed   too little to plant degradations in: carries the reason an operator reads
UnknownTask         nobody declared a task of that name, and none was recognised
NotNow              what a person asked for has to wait: carries what is missing
CompileFailed       no card: carries the reason an operator reads
    NothingWorks    every production model was tried: carries how often the sealed examples were looked at
"""


class CompilerError(Exception):
    pass


class ExampleError(CompilerError):
    def __init__(self, message: str, *, path: str = "", line: int = 0) -> None:
        where = f"{path}:{line}: " if path and line else f"{path}: " if path else ""
        super().__init__(where + message)
        self.path = path
        self.line = line


class StoreError(CompilerError):
    pass


class BudgetExceeded(CompilerError):
    def __init__(self, message: str, *, scope: str, account: str = "") -> None:
        super().__init__(message)
        self.scope = scope  # "day" or "compile"
        self.account = account  # the one that has no room


class ModelFailed(CompilerError):
    def __init__(self, message: str, *, model: str = "") -> None:
        super().__init__(message)
        self.model = model  # as it was asked for


class ModelBusy(ModelFailed):
    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after  # seconds


class ModelRefused(ModelFailed):
    pass


class JudgeIsArm(CompilerError):
    pass


class CalibrationFailed(CompilerError):
    pass


class UnknownTask(CompilerError):
    pass


class NotNow(CompilerError):
    pass


class CompileFailed(CompilerError):
    pass


class NothingWorks(CompileFailed):
    def __init__(self, message: str, *, looks: int) -> None:
        super().__init__(message)
        self.looks = looks
