"""Routes of the console's own pages; they stand before the admin's, two of which they replace."""

from __future__ import annotations

from django.urls import path

from accounts.views import account, login, oidc, proof

urlpatterns = [
    path("login/", login.LoginView.as_view(), name="console_login"),
    path("login/factor/", login.FactorView.as_view(), name="console_login_factor"),
    path("login/enrol/", login.EnrolView.as_view(), name="console_login_enrol"),
    path("login/oidc/<uuid:client_id>/", oidc.BeginView.as_view(), name="console_oidc_begin"),
    path("login/oidc/<uuid:client_id>/callback/", oidc.CallbackView.as_view(), name="console_oidc_callback"),
    path("logout/", login.log_out, name="console_logout"),
    path("proof/", proof.ProofView.as_view(), name="console_proof"),
    path("proof/done/", proof.proof_done, name="console_proof_done"),
    path("account/", account.account, name="console_account"),
    path("account/logins/<uuid:session_id>/end/", account.end_login, name="console_end_login"),
    path("account/logins/end/", account.end_all_logins, name="console_end_all_logins"),
    path("account/application/", account.add_application, name="console_add_application"),
    path("account/key/", account.add_key, name="console_add_key"),
    path("account/codes/", account.make_codes, name="console_make_codes"),
    path("account/factors/<int:factor_id>/remove/", account.remove_factor, name="console_remove_factor"),
]
