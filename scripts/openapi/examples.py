"""Values that a reader can try, for fields whose type and bounds do not suggest one."""

from collections.abc import Mapping

_PRICE = {"currencyCode": "IRR", "units": "1500000"}
EXAMPLES: Mapping[str, object] = {
    "vafa.contacts.v1.Contact.birth_date": {"year": 1990, "month": 3, "day": 21},
    "vafa.contacts.v1.Contact.display_name": "شیرین رضایی",
    "vafa.contacts.v1.Contact.labels": {"city": "شیراز"},
    "vafa.contacts.v1.EmailAddress.address": "shirin@example.org",
    "vafa.contacts.v1.LookupContactRequest.email": "shirin@example.org",
    "vafa.contacts.v1.PhoneNumber.number": "+989121234567",
    "vafa.contacts.v1.SearchContactsRequest.query": "شیرین",
    "vafa.contacts.v1.ListContactsRequest.filter": 'display_name = "شیرین رضایی"',
    "vafa.contacts.v1.ListInteractionsRequest.filter": "channel = PHONE",
    "vafa.feedback.v1.ListResponsesRequest.filter": "score <= 6",
    "vafa.feedback.v1.Response.comment": "عالی بود",
    "vafa.feedback.v1.Response.contact": "contacts/main",
    "vafa.feedback.v1.Response.score": 9,
    "vafa.feedback.v1.LocalizedText.language_code": "fa",
    "vafa.feedback.v1.LocalizedText.text": "ما را به دوستان خود پیشنهاد می‌کنید؟",
    "vafa.feedback.v1.Survey.display_name": "پس از خرید",
    "vafa.gateway.v1.ApiKey.display_name": "فروشگاه",
    "vafa.gateway.v1.ApiKey.roles": ["roles/support"],
    "vafa.loyalty.v1.AwardPointsRequest.reason": "birthday",
    "vafa.loyalty.v1.ListOrdersRequest.filter": 'lines.sku = "tea-500"',
    "vafa.loyalty.v1.EarnRate.per_amount": _PRICE,
    "vafa.loyalty.v1.OrderLine.amount": _PRICE,
    "vafa.loyalty.v1.OrderLine.sku": "tea-500",
    "vafa.loyalty.v1.Payment.amount": _PRICE,
    "vafa.loyalty.v1.Payment.method": "card",
    "vafa.loyalty.v1.Program.currency_code": "IRR",
    "vafa.loyalty.v1.Program.display_name": "باشگاه مشتریان",
    "vafa.loyalty.v1.SpendPointsRequest.reason": "gift",
}
