//! What a client needs to find the server: a kubeconfig, or the files that a pod finds of its service account.

use std::io;
use std::path::Path;

/// Where the server is, and what is needed to talk to it.
pub(crate) struct Credentials<'a> {
    pub(crate) url: &'a str,
    /// PEM; none: http.
    pub(crate) authority: Option<&'a str>,
    pub(crate) token: Option<&'a str>,
    pub(crate) namespace: &'a str,
}

impl Credentials<'_> {
    /// As YAML; the certificate is written beside it, since inline it would have to be base64.
    pub(crate) fn write_kubeconfig(&self, path: &Path) -> io::Result<()> {
        let mut cluster = format!("    server: {}\n", self.url);
        if let Some(authority) = self.authority {
            let file = path.with_extension("ca.crt");
            std::fs::write(&file, authority)?;
            let file = std::path::absolute(file)?;
            cluster.push_str(&format!("    certificate-authority: {}\n", file.display()));
        }
        let user = match self.token {
            Some(token) => format!("\n    token: {token}"),
            None => " {}".to_owned(),
        };
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: test\nclusters:\n- name: test\n  cluster:\n{cluster}\
             users:\n- name: test\n  user:{user}\ncontexts:\n- name: test\n  context:\n    cluster: test\n    \
             user: test\n    namespace: {}\n",
            self.namespace
        );
        std::fs::write(path, text)
    }

    /// `token`, `namespace` and `ca.crt`, as they are mounted into a pod.
    pub(crate) fn write_service_account(&self, directory: &Path) -> io::Result<()> {
        std::fs::create_dir_all(directory)?;
        std::fs::write(directory.join("token"), self.token.unwrap_or("none-needed"))?;
        std::fs::write(directory.join("namespace"), self.namespace)?;
        std::fs::write(directory.join("ca.crt"), self.authority.unwrap_or_default())
    }
}
