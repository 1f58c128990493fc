"""instructor: a typed answer through a tool call, whole and in parts."""

from __future__ import annotations

import instructor
import openai
from driving import WEATHER, drive
from pydantic import BaseModel


class Weather(BaseModel):
    """The weather that was asked for."""

    city: str
    days: int


def client(base_url: str, key: str) -> instructor.Instructor:
    return instructor.from_openai(openai.OpenAI(base_url=base_url, api_key=key, max_retries=0))


def options(model: str) -> dict[str, object]:
    return {"model": model, "messages": [{"role": "user", "content": WEATHER}], "max_retries": 0}


def whole(base_url: str, key: str, model: str) -> object:
    weather, answer = client(base_url, key).chat.completions.create_with_completion(
        response_model=Weather, **options(model)
    )
    return [weather.model_dump(), answer.model_dump(mode="json", exclude={"id"})]


def streamed(base_url: str, key: str, model: str) -> object:
    return [
        part.model_dump()
        for part in client(base_url, key).chat.completions.create_partial(
            response_model=Weather, **options(model)
        )
    ]


if __name__ == "__main__":
    drive("instructor", {"tools": whole, "tools, streamed of each": streamed})
