"""The lines of a table as files for others, which appear whole or not at all."""

import contextlib
import csv
import os


def write_csv(records, path):
    """Write a structured array as CSV, floats to the last bit."""
    with _whole(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        print_csv(records, file)


def print_csv(records, file):
    """Write a structured array as CSV to an open text file."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(records.dtype.names)
    writer.writerows(records.tolist())


def write_parquet(records, path):
    """Write a structured array as a Parquet file; ImportError without pyarrow."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise ImportError("parquet needs pyarrow: pip install pyarrow; or use --to csv") from error
    table = pyarrow.table({name: _arrow(records[name], pyarrow) for name in records.dtype.names})
    with _whole(path) as temporary:
        parquet.write_table(table, temporary)


def _arrow(column, pyarrow):
    """A column as an arrow array; of texts where its values have nothing in common."""
    values = column.tolist()
    try:
        return pyarrow.array(values)
    except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError):
        return pyarrow.array([None if value is None else str(value) for value in values])


@contextlib.contextmanager
def _whole(path):
    """A name for the file until it is whole; then it has its own."""
    temporary = f"{os.fspath(path)}.{os.getpid()}.part"
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
