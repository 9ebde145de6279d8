"""stub"""
from dataclasses import dataclass
import numpy as np
@dataclass(frozen=True)
class Clock:
    kind: str = "none"
    count: int = 1
    offset: int = 0
    zone: str | None = None
    def calendar(self, numbers):
        if self.kind != "duration": return []
        h = numbers * (self.count // 3_600_000_000_000)
        return [("hour", h % 24, 24), ("weekday", (h // 24 + 3) % 7, 7)]
    def season(self): return (24, 168) if self.kind == "duration" else ()
    def saved(self): return self.__dict__
    @classmethod
    def loaded(cls, s): return cls(**s)

NONE = Clock()
