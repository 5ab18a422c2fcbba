"""The lines of a table as files for others."""

import csv
import os


def write_csv(records, file):
    """Write a structured array as CSV to an open text file; floats to the last bit."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(records.dtype.names)
    writer.writerows(records.tolist())


def write_parquet(records, path):
    """Write a structured array as a Parquet file, whole or not at all; ImportError without pyarrow."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise ImportError("parquet needs pyarrow: pip install pyarrow; or use --to csv") from error
    table = pyarrow.table({name: records[name].tolist() for name in records.dtype.names})
    temporary = f"{path}.{os.getpid()}.part"
    try:
        parquet.write_table(table, temporary)
        os.replace(temporary, path)
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)
