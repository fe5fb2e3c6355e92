# Sends a file by Net::SMTP over STARTTLS and AUTH.
use strict;
use warnings;
use Net::SMTP;

my ($port, $authority, $user, $password, $recipient, $path) = @ARGV;
open(my $file, '<:raw', $path) or die "$path: $!";
my @lines = <$file>;
close($file);

my $smtp = Net::SMTP->new('localhost', Port => $port, Hello => 'localhost', Timeout => 60) or die "connect: $@";
$smtp->starttls(SSL_ca_file => $authority, SSL_verifycn_name => 'localhost') or die 'STARTTLS: ' . $smtp->message;
$smtp->auth($user, $password) or die 'AUTH: ' . $smtp->message;
$smtp->mail('shop@legacy.example') or die 'MAIL: ' . $smtp->message;
$smtp->to($recipient) or die 'RCPT: ' . $smtp->message;
$smtp->data(\@lines) or die 'DATA: ' . $smtp->message;
$smtp->quit;
