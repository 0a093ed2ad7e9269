"""Surveys and their responses over the wire: the life of a survey, and what it comes to."""

import asyncio
import threading
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import LiteralString

import psycopg
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

import vafa
from services.feedback.rules import scores
from tests.contract.resources import events_of_change, refused, timestamp
from tests.harness.factories import a_published_survey, a_survey, answer
from tests.harness.postgres import Postgres
from tests.harness.suite import RunningSuite
from tests.harness.waiting import until
from vafa.events.v1 import events_pb2
from vafa.feedback.v1 import responses_pb2, surveys_pb2

Survey = surveys_pb2.Survey
Response = responses_pb2.Response
NOON = datetime(2026, 3, 21, 12, 0, 0, 123456, tzinfo=UTC)
# Decomposed letters, a half-space and a line of its own.
PERSIAN = "آقا، به‌هیچ‌وجه «راضی» نبودم\nيك كتاب ٪۱۰"
WAITS: LiteralString = "SELECT count(*) FROM pg_locks WHERE NOT granted AND "


def new_contact() -> str:
    """Return a contact that nobody has heard of, which need not be known."""
    return f"contacts/{uuid.uuid4()}"


def publish(client: vafa.Suite, name: str, etag: str = "") -> Survey:
    """Publish a survey."""
    return client.surveys.PublishSurvey(surveys_pb2.PublishSurveyRequest(name=name, etag=etag))


def close(client: vafa.Suite, name: str, etag: str = "") -> Survey:
    """Close a survey."""
    return client.surveys.CloseSurvey(surveys_pb2.CloseSurveyRequest(name=name, etag=etag))


def change(client: vafa.Suite, survey: Survey, *paths: str) -> Survey:
    """Change a survey."""
    mask = FieldMask(paths=paths)
    return client.surveys.UpdateSurvey(
        surveys_pb2.UpdateSurveyRequest(survey=survey, update_mask=mask)
    )


def responses_to(client: vafa.Suite, survey: str) -> Sequence[Response]:
    """Return the responses to a survey, at most a thousand."""
    request = responses_pb2.ListResponsesRequest(parent=survey, page_size=1000)
    return client.responses.ListResponses(request).responses


def metric_of(
    client: vafa.Suite,
    survey: str,
    text: str = "",
    start: datetime | None = None,
    end: datetime | None = None,
) -> responses_pb2.Metric:
    """Return the metric of a survey."""
    request = responses_pb2.GetMetricRequest(name=f"{survey}/metric", filter=text)
    if start is not None:
        request.start_time.CopyFrom(timestamp(start))
    if end is not None:
        request.end_time.CopyFrom(timestamp(end))
    return client.responses.GetMetric(request)


def summary_of(client: vafa.Suite, contact: str) -> responses_pb2.ScoreSummary:
    """Return what scores a contact gave."""
    request = responses_pb2.SummarizeScoresRequest(contact=contact)
    return client.responses.SummarizeScores(request)


# The life of a survey


def test_a_survey_is_drafted_published_answered_and_closed(client: vafa.Suite) -> None:
    draft = a_survey(client, touchpoint="checkout")
    assert draft.state == Survey.STATE_DRAFT
    assert not draft.HasField("publish_time")
    published = publish(client, draft.name, draft.etag)
    assert published.state == Survey.STATE_PUBLISHED
    assert published.publish_time == published.update_time
    assert not published.HasField("close_time")
    response = answer(client, draft.name, Response(score=9))
    closed = close(client, draft.name, published.etag)
    assert closed.state == Survey.STATE_CLOSED
    assert closed.publish_time == published.publish_time
    assert closed.close_time == closed.update_time
    assert client.surveys.GetSurvey(surveys_pb2.GetSurveyRequest(name=draft.name)) == closed
    assert list(responses_to(client, draft.name)) == [response]


def test_what_is_done_already_is_answered_as_it_is_and_nothing_happens(client: vafa.Suite) -> None:
    name = a_survey(client).name
    published = publish(client, name)
    assert events_of_change(client, "feedback", lambda: publish(client, name)) == []
    assert publish(client, name) == published
    closed = close(client, name)
    assert events_of_change(client, "feedback", lambda: close(client, name)) == []
    assert close(client, name) == closed


def test_each_step_is_told_once_with_what_changed(client: vafa.Suite) -> None:
    name, contact = "", new_contact()
    answered: list[Response] = []

    def live() -> None:
        nonlocal name
        survey = a_survey(client)
        name = survey.name
        survey.touchpoint = "delivery"
        change(client, survey, "touchpoint")
        publish(client, name)
        answered.append(answer(client, name, Response(score=3, contact=contact, comment=PERSIAN)))
        answered.append(answer(client, name, Response(score=8)))
        close(client, name)

    events = events_of_change(client, "feedback", live)
    told = [(event.type, list(event.changed_paths)) for event in events]
    assert told == [
        ("survey.created", []),
        ("survey.updated", ["touchpoint"]),
        ("survey.published", ["state", "publish_time"]),
        ("response.created", []),
        ("response.created", []),
        ("survey.closed", ["state", "close_time"]),
    ]
    assert [event.subject_version for event in events if event.subject == name] == [1, 2, 3, 4]
    of_responses: list[events_pb2.Event] = [e for e in events if e.type == "response.created"]
    assert [event.subject for event in of_responses] == [one.name for one in answered]
    named, anonymous = (dict(event.related) for event in of_responses)
    assert named == {"survey": name, "contact": contact}
    assert anonymous == {"survey": name}


def test_a_draft_is_not_answered_and_not_closed(client: vafa.Suite) -> None:
    name = a_survey(client).name
    with refused(vafa.FailedPrecondition, "SURVEY_NOT_PUBLISHED") as refusal:
        answer(client, name, Response(score=5))
    assert refusal.metadata == {"resource": name}
    with refused(vafa.FailedPrecondition, "SURVEY_NOT_PUBLISHED") as refusal:
        close(client, name)
    assert refusal.metadata == {"resource": name}
    assert not responses_to(client, name)


def test_a_closed_survey_is_not_answered_and_not_published_again(client: vafa.Suite) -> None:
    name = a_published_survey(client)
    close(client, name)
    with refused(vafa.FailedPrecondition, "SURVEY_CLOSED") as refusal:
        answer(client, name, Response(score=5))
    assert refusal.metadata == {"resource": name}
    with refused(vafa.FailedPrecondition, "SURVEY_CLOSED") as refusal:
        publish(client, name)
    assert refusal.metadata == {"resource": name}


def test_whoever_read_an_older_survey_neither_publishes_nor_closes_it(client: vafa.Suite) -> None:
    draft = a_survey(client)
    draft.display_name = "Another"
    change(client, draft, "display_name")
    with refused(vafa.Aborted, "ETAG_MISMATCH"):
        publish(client, draft.name, draft.etag)
    published = publish(client, draft.name)
    with refused(vafa.Aborted, "ETAG_MISMATCH"):
        close(client, draft.name, draft.etag)
    assert close(client, draft.name, published.etag).state == Survey.STATE_CLOSED


@pytest.mark.parametrize("ended", [False, True])
def test_what_was_asked_stays_and_the_rest_may_change(client: vafa.Suite, ended: bool) -> None:
    name = a_published_survey(client)
    if ended:
        close(client, name)
    survey = client.surveys.GetSurvey(surveys_pb2.GetSurveyRequest(name=name))
    survey.questions[1].text = "Would you not?"
    survey.touchpoint = "delivery"
    with refused(vafa.FailedPrecondition, "SURVEY_PUBLISHED") as refusal:
        change(client, survey, "questions", "touchpoint")
    assert refusal.metadata == {"resource": name}
    assert refusal.fields == ["survey.questions", "survey.touchpoint"]
    survey.display_name, survey.labels["wave"] = "Spring", "1"
    changed = change(client, survey, "display_name", "labels")
    assert (changed.display_name, dict(changed.labels)) == ("Spring", {"wave": "1"})
    # What is there already is no change.
    assert change(client, changed, "questions", "touchpoint") == changed


def test_the_kind_of_a_draft_stays(client: vafa.Suite) -> None:
    draft = a_survey(client)
    draft.kind = Survey.KIND_CSAT
    with refused(vafa.InvalidArgument, "FIELD_IMMUTABLE") as refusal:
        change(client, draft, "kind")
    assert refusal.fields == ["survey.kind"]


def test_a_survey_asks_once_in_each_language(client: vafa.Suite) -> None:
    draft = a_survey(client)
    draft.questions.add(language_code="fa", text="دوباره؟")
    with refused(vafa.InvalidArgument, "VALUE_REPEATED") as refusal:
        change(client, draft, "questions")
    assert refusal.fields == ["survey.questions[2].language_code"]
    with refused(vafa.InvalidArgument, "VALUE_REPEATED") as refusal:
        client.surveys.CreateSurvey(surveys_pb2.CreateSurveyRequest(survey=draft))
    assert refusal.fields == ["survey.questions[2].language_code"]


# Responses


def test_words_are_kept_as_they_were_written(client: vafa.Suite) -> None:
    question = surveys_pb2.LocalizedText(language_code="fa", text=PERSIAN)
    survey = Survey(display_name=PERSIAN, kind=Survey.KIND_FREE_TEXT, questions=[question])
    request = surveys_pb2.CreateSurveyRequest(survey=survey)
    name = publish(client, client.surveys.CreateSurvey(request).name).name
    kept = client.surveys.GetSurvey(surveys_pb2.GetSurveyRequest(name=name))
    assert (kept.display_name, kept.questions[0].text) == (PERSIAN, PERSIAN)
    given = answer(client, name, Response(comment=PERSIAN, language_code="fa"))
    read = client.responses.GetResponse(responses_pb2.GetResponseRequest(name=given.name))
    assert read.comment.encode() == PERSIAN.encode()


def test_an_answer_without_a_time_was_given_when_it_was_recorded(client: vafa.Suite) -> None:
    response = answer(client, a_published_survey(client), Response(score=0))
    assert response.answer_time == response.create_time
    # A zero is a score.
    assert response.HasField("score")


def test_an_answer_may_come_a_moment_before_its_time_and_no_more(client: vafa.Suite) -> None:
    name, now = a_published_survey(client), datetime.now(UTC)
    soon, later = timestamp(now + timedelta(seconds=30)), timestamp(now + timedelta(minutes=5))
    assert answer(client, name, Response(score=7, answer_time=soon)).answer_time == soon
    with refused(vafa.InvalidArgument, "TIME_IN_FUTURE") as refusal:
        answer(client, name, Response(score=7, answer_time=later))
    assert refusal.fields == ["response.answer_time"]


@pytest.mark.parametrize(
    ("kind", "score", "lowest", "highest"),
    [
        (Survey.KIND_NPS, None, 0, 10),
        (Survey.KIND_CSAT, None, 1, 5),
        (Survey.KIND_CSAT, 0, 1, 5),
        (Survey.KIND_CSAT, 6, 1, 5),
        (Survey.KIND_CES, 0, 1, 7),
        (Survey.KIND_CES, 8, 1, 7),
    ],
)
def test_a_score_outside_the_scale_is_refused(
    client: vafa.Suite,
    kind: Survey.Kind.ValueType,
    score: int | None,
    lowest: int,
    highest: int,
) -> None:
    name = a_published_survey(client, kind)
    with refused(vafa.InvalidArgument, "SCORE_INVALID") as refusal:
        answer(client, name, Response(score=score))
    assert refusal.fields == ["response.score"]
    assert refusal.metadata == {"lowest": str(lowest), "highest": str(highest)}
    for accepted in (lowest, highest):
        assert answer(client, name, Response(score=accepted)).score == accepted


@pytest.mark.parametrize("score", [-1, 11])
def test_a_score_outside_every_scale_is_refused(client: vafa.Suite, score: int) -> None:
    with refused(vafa.InvalidArgument, "INVALID_FIELD") as refusal:
        answer(client, a_published_survey(client), Response(score=score))
    assert refusal.fields == ["response.score"]


def test_an_open_question_is_answered_in_words_alone(client: vafa.Suite) -> None:
    name = a_published_survey(client, Survey.KIND_FREE_TEXT)
    with refused(vafa.InvalidArgument, "SCORE_INVALID") as refusal:
        answer(client, name, Response(score=0, comment="خوب"))
    assert (refusal.fields, refusal.metadata) == (["response.score"], {})
    for empty in ("", " \n", "\u200c\u200f"):
        with refused(vafa.InvalidArgument, "COMMENT_MISSING") as refusal:
            answer(client, name, Response(comment=empty))
        assert refusal.fields == ["response.comment"]
    assert not answer(client, name, Response(comment="👍")).HasField("score")


def test_a_repeated_answer_counts_once(client: vafa.Suite) -> None:
    name = a_published_survey(client)
    request = responses_pb2.CreateResponseRequest(
        parent=name, response=Response(score=10), request_id=str(uuid.uuid4())
    )
    first = client.responses.CreateResponse(request)
    close(client, name)
    assert client.responses.CreateResponse(request) == first
    assert metric_of(client, name).responses_count == 1


# A close and the answers that come meanwhile


def test_no_answer_appears_once_a_survey_is_closed(suite: RunningSuite) -> None:
    with suite.client() as client:
        name = a_published_survey(client)
        before_close, at_close, accepted, refused_as = asyncio.run(_race(suite, name))
        after = {response.name for response in responses_to(client, name)}
    assert before_close
    assert at_close == accepted == after
    assert refused_as == {"SURVEY_CLOSED"}


async def _race(suite: RunningSuite, name: str) -> tuple[int, set[str], set[str], set[str]]:
    """Answer from many sides until each is refused, and close meanwhile.

    Returns how many answers came before the close was asked for, those that were there as soon
    as it was answered, all that were accepted, and why the others were not.
    """
    accepted: set[str] = set()
    reasons: set[str] = set()
    client = suite.aio_client()
    request = responses_pb2.CreateResponseRequest(parent=name, response=Response(score=6))

    async def keep_answering() -> None:
        while not reasons:
            try:
                accepted.add((await client.responses.CreateResponse(request)).name)
            except vafa.VafaError as error:
                reasons.add(error.reason)

    async with client:
        answering = [asyncio.create_task(keep_answering()) for _ in range(16)]
        while len(accepted) < 50 and not reasons:
            await asyncio.sleep(0.01)
        before_close = len(accepted)
        await client.surveys.CloseSurvey(surveys_pb2.CloseSurveyRequest(name=name))
        listing = responses_pb2.ListResponsesRequest(parent=name, page_size=1000)
        listed = await client.responses.ListResponses(listing)
        await asyncio.gather(*answering)
    at_close = {response.name for response in listed.responses}
    return before_close, at_close, accepted, reasons


@pytest.fixture
def store(postgres: Postgres) -> Iterator[psycopg.Connection]:
    """A connection of our own to the PostgreSQL of the shared feedback; each statement commits."""
    with psycopg.connect(postgres.conninfo("shared_feedback"), autocommit=True) as connection:
        yield connection


def waits(store: psycopg.Connection, lock: LiteralString) -> bool:
    """Whether somebody waits for such a lock."""
    row = store.execute(WAITS + lock).fetchone()
    return bool(row and row[0])


# SQLite has one writer, so that nobody is in between.
@pytest.mark.parametrize("suite", ["postgresql"], indirect=True)
def test_a_close_waits_for_the_answer_that_came_before_it(
    client: vafa.Suite, store: psycopg.Connection
) -> None:
    name = a_published_survey(client)
    ended: list[str] = []
    answered: list[Response] = []
    closed: list[Survey] = []

    def answer_slowly() -> None:
        answered.append(answer(client, name, Response(score=6)))
        ended.append("answer")

    def close_meanwhile() -> None:
        closed.append(close(client, name))
        ended.append("close")

    threads = [threading.Thread(target=act) for act in (answer_slowly, close_meanwhile)]
    with store.transaction():
        # The answer has found the survey open, and cannot be written yet.
        store.execute("LOCK TABLE responses IN SHARE MODE")
        threads[0].start()
        until(lambda: waits(store, "relation = 'responses'::regclass"))
        threads[1].start()
        until(lambda: waits(store, "locktype = 'advisory'"))
        assert not ended
    for thread in threads:
        thread.join()
    assert sorted(ended) == ["answer", "close"]
    assert list(responses_to(client, name)) == answered
    assert closed[0].state == Survey.STATE_CLOSED


# What it comes to


@pytest.mark.parametrize(
    ("kind", "measure", "given"),
    [
        (Survey.KIND_NPS, scores.NPS, [10, 9, 9, 8, 7, 7, 6, 3, 0, 10, 10]),
        (Survey.KIND_CSAT, scores.CSAT, [5, 5, 4, 4, 4, 3, 2, 1, 5]),
        (Survey.KIND_CES, scores.CES, [7, 6, 6, 5, 7, 1, 4, 7]),
    ],
)
def test_a_metric_is_what_the_rule_says_of_the_listed_responses(
    client: vafa.Suite,
    kind: Survey.Kind.ValueType,
    measure: scores.Measure,
    given: Sequence[int],
) -> None:
    name = a_published_survey(client, kind)
    for score in given:
        answer(client, name, Response(score=score))
    counts = Counter(response.score for response in responses_to(client, name))
    assert counts == Counter(given)
    expected = measure.estimate(counts)
    metric = metric_of(client, name)
    assert (metric.name, metric.kind) == (f"{name}/metric", kind)
    assert metric.responses_count == len(given)
    assert dict(metric.score_counts) == counts
    assert (metric.value, metric.low, metric.high) == (expected.value, expected.low, expected.high)
    assert metric.mean_score == pytest.approx(sum(given) / len(given))
    assert metric.minimum_responses_count == measure.minimum_responses_count
    assert not metric.sufficient


def test_as_many_responses_as_it_takes_are_sufficient(client: vafa.Suite) -> None:
    name = a_published_survey(client)
    minimum = metric_of(client, name).minimum_responses_count
    for n in range(minimum):
        assert not metric_of(client, name).sufficient, n
        answer(client, name, Response(score=n % 11))
    assert metric_of(client, name).sufficient


def test_without_responses_there_is_a_metric_and_no_score(client: vafa.Suite) -> None:
    metric = metric_of(client, a_survey(client).name)
    assert metric.responses_count == 0
    for field in ("value", "low", "high", "mean_score", "start_time", "end_time"):
        assert not metric.HasField(field), field


def test_one_effort_score_has_no_interval(client: vafa.Suite) -> None:
    name = a_published_survey(client, Survey.KIND_CES)
    answer(client, name, Response(score=4))
    metric = metric_of(client, name)
    assert (metric.value, metric.mean_score) == (50, 4)
    assert not metric.HasField("low")
    assert not metric.HasField("high")


def test_a_period_begins_with_its_start_and_ends_before_its_end(client: vafa.Suite) -> None:
    name, moment = a_published_survey(client), timedelta(microseconds=1)
    for score, time_answered in ((1, NOON - moment), (2, NOON), (3, NOON + moment)):
        answer(client, name, Response(score=score, answer_time=timestamp(time_answered)))
    for start, end, expected in (
        (NOON, NOON + moment, {2}),
        (NOON, None, {2, 3}),
        (None, NOON, {1}),
        (NOON + 2 * moment, None, set()),
        (None, None, {1, 2, 3}),
    ):
        metric = metric_of(client, name, start=start, end=end)
        assert set(metric.score_counts) == expected
        assert metric.HasField("start_time") == (start is not None)
        assert metric.HasField("end_time") == (end is not None)
    metric = metric_of(client, name, start=NOON, end=NOON + moment)
    assert (metric.start_time, metric.end_time) == (timestamp(NOON), timestamp(NOON + moment))


def test_a_metric_of_some_responses(client: vafa.Suite) -> None:
    name, contact = a_published_survey(client), new_contact()
    order = "programs/club/orders/first"
    answer(client, name, Response(score=1, agent="sara", labels={"shop": "north"}))
    answer(client, name, Response(score=2, agent="sara", contact=contact))
    answer(client, name, Response(score=3, language_code="fa", order=order))
    for text, expected in (
        ('agent = "sara"', {1, 2}),
        ('agent = "sara" AND score > 1', {2}),
        ('labels.shop = "north"', {1}),
        (f'contact = "{contact}"', {2}),
        ("NOT contact:*", {1, 3}),
        (f'order = "{order}" OR labels.shop:*', {1, 3}),
    ):
        assert set(metric_of(client, name, text).score_counts) == expected, text
    assert set(metric_of(client, name, 'agent = "sara"', end=NOON).score_counts) == set()


def test_a_metric_counts_no_other_survey(client: vafa.Suite) -> None:
    name, other = a_published_survey(client), a_published_survey(client)
    answer(client, name, Response(score=1))
    answer(client, other, Response(score=2))
    assert dict(metric_of(client, name).score_counts) == {1: 1}


@pytest.mark.parametrize("end", [NOON, NOON - timedelta(seconds=1)])
def test_a_period_that_does_not_end_after_its_start_is_refused(
    client: vafa.Suite, end: datetime
) -> None:
    with refused(vafa.InvalidArgument, "PERIOD_INVALID") as refusal:
        metric_of(client, a_survey(client).name, start=NOON, end=end)
    assert refusal.fields == ["end_time"]


def test_an_open_question_has_no_metric(client: vafa.Suite) -> None:
    name = a_survey(client, Survey.KIND_FREE_TEXT).name
    with refused(vafa.FailedPrecondition, "SURVEY_NOT_SCORED") as refusal:
        metric_of(client, name)
    assert refusal.metadata == {"resource": name}


def test_a_metric_of_nothing_is_refused(client: vafa.Suite) -> None:
    with refused(vafa.NotFound, "RESOURCE_NOT_FOUND") as refusal:
        metric_of(client, "surveys/nobody-asks")
    assert refusal.metadata == {"resource": "surveys/nobody-asks"}
    with refused(vafa.InvalidArgument, "FILTER_INVALID") as refusal:
        metric_of(client, a_survey(client).name, "comment:*")
    assert refusal.fields == ["filter"]


# By contact


def test_a_contact_has_the_latest_score_of_each_kind(client: vafa.Suite) -> None:
    contact = new_contact()
    nps, again = a_published_survey(client), a_published_survey(client)
    effort = a_published_survey(client, Survey.KIND_CES)
    words = a_published_survey(client, Survey.KIND_FREE_TEXT)

    def give(survey: str, hours: int, score: int | None = None, comment: str = "") -> Response:
        answer_time = timestamp(NOON + timedelta(hours=hours))
        given = Response(contact=contact, score=score, comment=comment, answer_time=answer_time)
        return answer(client, survey, given)

    latest = give(again, 2, 3)
    # Recorded later, and answered before.
    give(nps, 1, 10)
    only = give(effort, 0, 7)
    give(words, 3, comment="خوب")
    answer(client, nps, Response(score=0))
    summary = summary_of(client, contact)
    assert summary == responses_pb2.ScoreSummary(
        contact=contact,
        responses_count=4,
        scores=[
            responses_pb2.KindScore(
                kind=Survey.KIND_NPS,
                scores_count=2,
                latest_score=3,
                latest_answer_time=latest.answer_time,
                latest_response=latest.name,
            ),
            responses_pb2.KindScore(
                kind=Survey.KIND_CES,
                scores_count=1,
                latest_score=7,
                latest_answer_time=only.answer_time,
                latest_response=only.name,
            ),
        ],
    )


def test_of_two_scores_of_one_moment_the_one_recorded_last_is_the_latest(
    client: vafa.Suite,
) -> None:
    name, contact, moment = a_published_survey(client), new_contact(), timestamp(NOON)
    for score in (9, 2):
        last = answer(client, name, Response(contact=contact, score=score, answer_time=moment))
    [summed] = summary_of(client, contact).scores
    assert (summed.latest_response, summed.latest_score) == (last.name, 2)


def test_whoever_never_answered_has_an_empty_summary(client: vafa.Suite) -> None:
    contact = new_contact()
    assert summary_of(client, contact) == responses_pb2.ScoreSummary(contact=contact)
