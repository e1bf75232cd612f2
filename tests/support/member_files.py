"""Nightly files of a lender as they would come today, for networks whose clock is the real one."""

from __future__ import annotations

import csv
from datetime import UTC, datetime, timedelta
from pathlib import Path

from chaincode.instalments.calendar import add_months, pkt_date
from chaincode.instalments.identifiers import imei_with_check_digit
from clients.files.agreements import AgreementSchema
from clients.files.payments import PaymentSchema

COUNT = 12
PAYMENT_COLUMNS = (*PaymentSchema.required, "reverses")
AGREEMENT_COLUMNS = AgreementSchema.required


def write_files(folder: Path, bad: int = -1) -> tuple[Path, Path]:
    """A lender's agreements of the day before yesterday, and payments of today, one taken back.

    The agreement of number *bad* has a CNIC that is none.
    """
    today = pkt_date(datetime.now(UTC))
    opened = today - timedelta(days=2)
    agreements, payments = folder / "agreements.csv", folder / "payments.csv"
    with agreements.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(
            [
                "agreement_ref",
                "lender_msp",
                "cnic",
                "msisdn",
                "imei_1",
                "imei_2",
                "tac",
                "model",
                "contract_type",
                "price_pkr",
                "down_payment_pkr",
                "instalments",
                "frequency",
                "first_due_date",
                "opened_on",
                "consent_ref",
            ]
        )
        for number in range(COUNT):
            imeis = [imei_with_check_digit(f"35209900{2 * number + which:06}") for which in (1, 2)]
            cnic = "0" if number == bad else f"82203-{number:07}-1"
            first = add_months(today, 1)
            rows.writerow(
                [
                    f"AG-{number}",
                    "BankMSP",
                    cnic,
                    f"+9230012345{number:02}",
                    *imeis,
                    "35209900",
                    "Model A",
                    "murabaha",
                    "20,000.00",
                    "4,000.00",
                    "6",
                    "monthly",
                    first,
                    opened,
                    "K-1",
                ]
            )
    with payments.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(PAYMENT_COLUMNS)
        for number in range(COUNT):
            rows.writerow([f"P-{number}", f"AG-{number}", "2,666.00", today, "branch", ""])
        rows.writerow(["R-1", "AG-1", "", today, "branch", "P-1"])
    return agreements, payments
