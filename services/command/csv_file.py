"""A CSV file of purchases, read from its beginning as often as need be."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from services.command.csv_messages import Customer
from services.command.csv_rows import BadRow, CannotLoad, Purchase, read_rows


@dataclass(frozen=True)
class CsvFile:
    """The file at `path`.

    `columns` are the columns of fields that have others than usual; `system` names the ids of
    the customers.
    """

    path: Path
    columns: Mapping[str, str]
    system: str

    def rows(self) -> Iterator[Purchase | BadRow]:
        """Yield the rows; raises CannotLoad for a file that cannot be read."""
        try:
            with self.path.open(encoding="utf-8-sig", newline="") as file:
                yield from read_rows(file, self.columns, self.system)
        except UnicodeDecodeError as error:
            raise CannotLoad(f"{self.path} is not UTF-8: {error.reason}") from error
        except OSError as error:
            raise CannotLoad(f"{self.path} cannot be read: {error.strerror}") from error
        except CannotLoad as error:
            raise CannotLoad(f"{self.path}: {error}") from error

    def survey(self) -> tuple[dict[str, Customer], int]:
        """Return the customers by id in their order, and how many rows there are."""
        customers: dict[str, Customer] = {}
        rows_count = 0
        for row in self.rows():
            rows_count += 1
            if isinstance(row, Purchase):
                customer = customers.get(row.customer_id)
                if customer is None:
                    customer = customers[row.customer_id] = Customer(row.customer_id, row.line)
                customer.learn(row)
        if not rows_count:
            raise CannotLoad(f"{self.path} has no rows")
        return customers, rows_count
