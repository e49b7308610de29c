"""Prints the rows of the one sheet of a workbook as JSON: workbook_rows.py FILE"""

import json
import sys

import openpyxl

[sheet] = openpyxl.load_workbook(sys.argv[1], read_only=True).worksheets
json.dump([list(row) for row in sheet.iter_rows(values_only=True)], sys.stdout)
