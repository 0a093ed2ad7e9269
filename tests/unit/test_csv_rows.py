"""Rows of a CSV file become purchases, or a line that says what is wrong."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from services.command.csv_messages import (
    Customer,
    blame_purchase,
    contact_request,
    money_of,
    order_of,
)
from services.command.csv_rows import BadRow, CannotLoad, Purchase, read_rows
from services.command.csv_values import parse_amount, parse_quantity, parse_time

CDNOW_HEADER = "customer_id,sample_id,date,number_of_cds,dollar_value"


def read(*lines: str, columns: dict[str, str] | None = None) -> list[Purchase | BadRow]:
    """Return what the lines of a file of the system `shop` come to."""
    return list(read_rows([f"{line}\n" for line in lines], columns or {}, "shop"))


def purchases(*lines: str, columns: dict[str, str] | None = None) -> list[Purchase]:
    """Return the purchases of lines, all of which must be good."""
    rows = read(*lines, columns=columns)
    assert not [row for row in rows if isinstance(row, BadRow)]
    return [row for row in rows if isinstance(row, Purchase)]


def bad(*lines: str) -> list[str]:
    """Return what is said of the bad rows."""
    return [str(row) for row in read(*lines) if isinstance(row, BadRow)]


def test_the_columns_of_cdnow_are_recognised() -> None:
    [row] = purchases(CDNOW_HEADER, "00004,0001,1997-01-01,2,29.33")
    assert row == Purchase(
        line=2,
        customer_id="00004",
        order_id="shop-00004-1997-01-01-1",
        order_time=datetime(1997, 1, 1, tzinfo=UTC),
        amount=Decimal("29.33"),
        quantity=2,
        sku="item",
        told={},
    )


def test_plain_names_are_recognised_in_any_order() -> None:
    header = "email, amount ,phone,date,name,customer_id,sku,order_id,quantity"
    [row] = purchases(header, "a@example.org,1.50,+98912,2026-01-02,مریم,7,tea,A-1,3")
    assert (row.order_id, row.sku, row.quantity, row.amount) == ("A-1", "tea", 3, Decimal("1.50"))
    assert row.told == {"name": "مریم", "email": "a@example.org", "phone": "+98912"}


def test_a_named_column_takes_the_place_of_the_usual_one() -> None:
    columns = {"amount": "مبلغ", "customer_id": "buyer"}
    [row] = purchases("buyer,date,amount,مبلغ", "7,2026-01-02,1,۲", columns=columns)
    assert row.amount == 2


def test_without_quantity_and_sku_one_item_was_bought() -> None:
    [row] = purchases("customer_id,date,amount,sku", "7,2026-01-02,5,")
    assert (row.quantity, row.sku) == (1, "item")


def test_alike_rows_are_numbered_within_a_customers_day() -> None:
    rows = purchases(
        "customer_id,date,amount",
        "7,2026-01-02,5",
        "8,2026-01-02,5",
        "7,2026-01-03,5",
        "7,2026-01-02,5",
        "7,2026-01-02T23:00:00-02:00,5",
    )
    assert [row.order_id for row in rows] == [
        "shop-7-2026-01-02-1",
        "shop-8-2026-01-02-1",
        "shop-7-2026-01-03-1",
        "shop-7-2026-01-02-2",
        "shop-7-2026-01-03-2",
    ]


def test_putting_a_bad_row_right_leaves_the_ids_of_the_others() -> None:
    header, good = "customer_id,date,amount", "7,2026-01-02,5"
    before = read(header, "7,2026-01-02,five", good)
    after = purchases(header, good, good)
    assert isinstance(before[1], Purchase)
    assert before[1].order_id == after[1].order_id == "shop-7-2026-01-02-2"


def test_an_order_id_may_stand_once() -> None:
    header = "customer_id,date,amount,order_id"
    said = bad(header, "7,2026-01-02,5,A", "7,2026-01-02,5,B", "8,2026-01-03,6,A")
    assert said == ["line 4: order_id: 'A' stands in an earlier row too"]


def test_bad_rows_are_named_by_their_first_line() -> None:
    said = bad(
        "customer_id,date,amount,quantity,name",
        ",2026-01-02,5,1,Ada",
        "7,,5,1,Ada",
        '7,2026-01-02,5,0,"Ada',
        'of Shiraz"',
        "",
        "7,02.01.2026,5,1,Ada",
        "7,2026-01-02,-5,1,Ada",
        "7,2026-01-02,5",
        "7,2026-01-02,5,1,Ada,more",
        "7,2026-01-02,5,,Ada",
        '7,2026-01-02,5,1,"Ada"!',
        "7,2026-01-02,5,1,Ada",
    )
    assert said == [
        "line 2: customer_id: is missing",
        "line 3: date: is missing",
        "line 4: quantity: '0' is not from 1 to 1,000,000",
        "line 7: date: '02.01.2026' is not an ISO 8601 date",
        "line 8: amount: '-5' is negative",
        "line 9: has 3 columns, and the header has 5",
        "line 10: has 6 columns, and the header has 5",
        "line 11: quantity: is missing",
        "line 12: ',' expected after '\"'",
    ]


@pytest.mark.parametrize(
    ("lines", "columns", "said"),
    [
        ([], {}, "the file is empty"),
        (["", ""], {}, "the file is empty"),
        (["customer_id,date"], {}, "no column 'amount' or 'dollar_value' for amount"),
        (["customer_id,date,amount"], {"name": "who"}, "no column 'who' for name"),
        (["customer_id,date,amount"], {"colour": "date"}, "'colour' is not a field"),
        (["customer_id,date,amount,dollar_value"], {}, "several columns stand for amount"),
        (["customer_id,date,date,amount"], {}, "several columns stand for date"),
    ],
)
def test_a_file_without_its_columns_is_refused_whole(
    lines: list[str], columns: dict[str, str], said: str
) -> None:
    with pytest.raises(CannotLoad, match=said):
        read(*lines, columns=columns)


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("0", "0"),
        ("0.00", "0"),
        ("29.33", "29.33"),
        (".5", "0.5"),
        ("۱۲٬۳۴۵٫۶۷", "12345.67"),
        ("٣.٥", "3.5"),
        ("1000000000000", "1000000000000"),
        ("0.1000000000000000", "0.1"),
    ],
)
def test_amounts_are_decimals_in_any_of_our_digits(text: str, amount: str) -> None:
    assert parse_amount(text) == Decimal(amount)


@pytest.mark.parametrize(
    "text",
    ["", "1,5", "1e3", "1_000", "NaN", "$5", "-0.01", "1000000000000.01", "0.1234567891", "५"],
)
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not an amount|negative|above|decimals"):
        parse_amount(text)


def test_money_keeps_every_digit_of_an_amount() -> None:
    money = money_of(Decimal("244091.940000001"), "USD")
    assert (money.currency_code, money.units, money.nanos) == ("USD", 244_091, 940_000_001)
    assert sum(money_of(Decimal("0.1"), "USD").nanos for _ in range(3)) == 300_000_000


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("1997-01-01", datetime(1997, 1, 1, tzinfo=UTC)),
        ("۱۹۹۷-۰۱-۰۱", datetime(1997, 1, 1, tzinfo=UTC)),
        ("19970101", datetime(1997, 1, 1, tzinfo=UTC)),
        ("2026-01-02T03:04:05", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02T00:00:00+03:30", datetime(2026, 1, 1, 20, 30, tzinfo=UTC)),
        ("2026-01-02 00:00:00.25Z", datetime(2026, 1, 2, 0, 0, 0, 250_000, tzinfo=UTC)),
    ],
)
def test_dates_are_taken_as_utc(text: str, time: datetime) -> None:
    assert parse_time(text) == time


@pytest.mark.parametrize("text", ["", "yesterday", "2026-02-30", "۱۴۰۲-۰۱-۰۱", "9999-12-31"])
def test_what_is_no_date_of_our_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not"):
        parse_time(text)


@pytest.mark.parametrize("text", ["0", "-1", "1.0", "1000001", "two"])
def test_a_quantity_is_a_whole_number_within_bounds(text: str) -> None:
    assert parse_quantity("۱۲") == 12
    with pytest.raises(ValueError, match="is not"):
        parse_quantity(text)


def test_a_contact_has_what_the_first_row_told_that_told_it() -> None:
    customer = Customer("7", line=2)
    for row in purchases(
        "customer_id,date,amount,name,phone",
        "7,2026-01-02,5,,",
        "7,2026-01-02,5,مریم,+989121234567",
        "7,2026-01-02,5,Maryam,",
    ):
        customer.learn(row)
    request = contact_request(customer, "shop")
    assert (request.external_id.system, request.external_id.value) == ("shop", "7")
    assert request.contact.display_name == "مریم"
    assert request.contact.phones[0].number == "+989121234567"
    assert list(request.update_mask.paths) == [
        "lifecycle_stage",
        "acquisition_source",
        "display_name",
        "phones",
    ]
    said = customer.blame("contact.phones[0].number", "too short")
    assert said == BadRow(3, "phone", "too short")
    assert customer.blame("external_id.value", "x") == BadRow(2, "customer_id", "x")


def test_a_contact_without_a_name_gets_one_that_a_later_load_does_not_put_back() -> None:
    request = contact_request(Customer("7", line=2), "shop")
    assert request.contact.display_name == "shop customer 7"
    assert list(request.update_mask.paths) == ["lifecycle_stage", "acquisition_source"]


def test_an_order_has_one_line() -> None:
    [row] = purchases(CDNOW_HEADER, "00004,0001,1997-01-01,2,29.33")
    order = order_of(row, "contacts/ada", "USD")
    assert order.external_id == "shop-00004-1997-01-01-1"
    assert order.order_time.ToDatetime(tzinfo=UTC) == row.order_time
    [line] = order.lines
    assert (line.sku, line.quantity) == ("item", 2)
    assert line.amount == money_of(Decimal("29.33"), "USD")
    said = blame_purchase(row, "lines[0].amount", "too many decimals")
    assert str(said) == "line 2: amount: too many decimals"
